import { requireKey } from "./key.ts";
import type { KeyRange } from "./ordered-store.ts";

/** A {@link KeyRange} whose empty strings are resolved, so that drivers see only keys or nothing. */
export interface Bounds {
  /** The inclusive bound where iteration begins. */
  readonly from: string | undefined;
  /** The exclusive bound where it stops. */
  readonly to: string | undefined;
  readonly reverse: boolean;
  readonly limit: number;
}

/**
 * The empty string is below every key: going up it is a start without effect and an end before everything.
 * Undefined when the range can hold nothing.
 * @throws RangeError when a bound is too long to be a key.
 */
export function boundsOf({
  start,
  end,
  reverse = false,
  limit = Number.POSITIVE_INFINITY,
}: KeyRange): Bounds | undefined {
  if (limit <= 0 || (reverse ? start : end) === "") return undefined;
  return { from: bound(start), to: bound(end), reverse, limit };
}

function bound(key: string | undefined): string | undefined {
  return key === undefined || key === "" ? undefined : requireKey(key);
}
