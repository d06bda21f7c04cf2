import type { EventLog } from "@meridian/eventlog";
import { ContentError, isContentError } from "@meridian/oci";
import type { Timers } from "@meridian/runtime";
import type { recordV1 } from "@meridian/wire";
import type { Fold } from "./fold.ts";
import { registerName, subjectOf, viewKey } from "./keys.ts";
import { findRecord } from "./lookups.ts";
import { encodeRecord, mergeRecords } from "./merge.ts";
import type { View } from "./view.ts";

/** Between two tries while the view lacks what the log has, in milliseconds: a record from the future is held. */
const RETRY_MS = 20;

export interface PublishOptions {
  readonly log: EventLog;
  readonly site: string;
  readonly fold: Fold;
  readonly view: View;
  readonly timers: Timers;
  /** The change; asked for again after a conflict. */
  readonly change: () => recordV1.Record;
  /** Called after a conflict, once the view has what was there first. What it throws ends the attempt. */
  readonly conflicted: () => Promise<void>;
  readonly traceparent: string | undefined;
  readonly signal: AbortSignal;
}

/**
 * Appends the view's register merged with the change, on condition that the log's last record of the register is the
 * one that the view has; else folds, merges again and retries. Returns the sequence.
 * @throws ContentError `unavailable` when the log goes away or the signal aborts.
 */
export async function publishRecord(options: PublishOptions): Promise<number> {
  const { log, site, view, change, conflicted, traceparent, signal } = options;
  const { key, subject } = placeOf(site, change());
  for (;;) {
    const seen = findRecord(view.store, key);
    const expected = seen?.sequence ?? 0;
    const merged = { ...mergeRecords(seen?.record, change()), mergedFrom: BigInt(expected) };
    try {
      const entry = { subject, payload: encodeRecord(merged), traceparent };
      return await log.append(entry, { expectedLastSubjectSequence: expected, signal });
    } catch (error) {
      if (!isContentError(error, "conflict")) {
        throw error;
      }
    }
    await catchUp(options, subject, key);
    await conflicted();
  }
}

/** The register's places in the view and in the log. */
export function placeOf(site: string, record: recordV1.Record): { key: string; subject: string } {
  const name = registerName(record.key);
  const key = name && viewKey(name);
  if (name === undefined || key === undefined) {
    throw new ContentError("invalid", "a change of a register that no view holds");
  }
  return { key, subject: subjectOf(site, name) };
}

/**
 * Resolves when the view has what the log has of the register, or after a moment when it is held back. A deletion that
 * one of the two has dropped already, and the other not, is put right in the view.
 */
export async function catchUp(
  { log, fold, view, timers, signal }: Pick<PublishOptions, "log" | "fold" | "view" | "timers" | "signal">,
  subject: string,
  key: string,
): Promise<void> {
  const last = await log.last(subject);
  const sequence = last?.sequence ?? 0;
  await fold.untilRead(sequence, signal);
  const found = findRecord(view.store, key);
  if (last !== undefined && found === undefined) {
    await fold.again(last);
  } else if (last === undefined && found !== undefined && found.sequence > 0) {
    await view.forgetSequence(key, found.sequence);
  }
  if ((findRecord(view.store, key)?.sequence ?? 0) < sequence) {
    await timers.sleep(RETRY_MS, { signal });
  }
}
