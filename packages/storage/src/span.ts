import { ContentError } from "@meridian/oci";
import type { ByteSpan } from "./blob-store.ts";

/** @throws ContentError `invalid-range` when the span is not inside the first `size` bytes. */
export function requireSpan({ start, end }: ByteSpan, size: number): void {
  if (Number.isSafeInteger(start) && Number.isSafeInteger(end) && 0 <= start && start <= end && end <= size) return;
  throw new ContentError("invalid-range", `bytes ${start} to ${end} are not within the ${size} there are`);
}
