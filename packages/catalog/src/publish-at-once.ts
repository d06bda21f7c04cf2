import type { ConditionalEntry, EventLog } from "@meridian/eventlog";
import { isContentError } from "@meridian/oci";
import type { recordV1 } from "@meridian/wire";
import { registerName, subjectOf } from "./keys.ts";
import { findRecord } from "./lookups.ts";
import { encodeRecord, mergeRecords } from "./merge.ts";
import { catchUp, type PublishOptions, placeOf } from "./publish-record.ts";

/** A register's change, and what its history gets with it. */
export interface PublishedChange {
  readonly change: recordV1.Record;
  readonly history?: recordV1.Record;
}

/** What {@link publishAtOnce} needs. */
export interface PublishAtOnceOptions<T extends PublishedChange>
  extends Omit<PublishOptions, "log" | "change" | "conflicted"> {
  readonly log: EventLog;
  /** The log's own. */
  readonly appendAll: NonNullable<EventLog["appendAll"]>;
  /** Their changes are read anew after a conflict. */
  readonly items: readonly T[];
  /** Called for each item after a conflict, once the view has what was there first. What it throws ends the attempt. */
  readonly conflicted: (item: T) => Promise<void>;
}

/**
 * Appends all registers of a commit merged with their changes, and its histories, in one transaction of the log, which
 * is on disk when it is acknowledged: so nothing of the commit has to be kept elsewhere before. On a conflict nothing
 * was written; then it folds, merges again and retries. Returns the last register's sequence.
 * @throws ContentError `unavailable` when the signal aborts, `no-space`.
 */
export async function publishAtOnce<T extends PublishedChange>(options: PublishAtOnceOptions<T>): Promise<number> {
  const { log, appendAll, items, site, signal } = options;
  for (;;) {
    const registers = items.map((item) => registerEntry(options, item));
    const histories = items.flatMap(({ history }) => historyEntry(options, history));
    try {
      // Behind the registers: no view reads histories, so none would see a sequence of theirs.
      const sequences = await appendAll.call(log, [...registers, ...histories], { signal });
      return sequences[registers.length - 1]!;
    } catch (error) {
      if (!isContentError(error, "conflict")) {
        throw error;
      }
    }
    for (const item of items) {
      const { key, subject } = placeOf(site, item.change);
      await catchUp(options, subject, key);
    }
    for (const item of items) {
      await options.conflicted(item);
    }
  }
}

function registerEntry(
  { site, view, traceparent }: Pick<PublishOptions, "site" | "view" | "traceparent">,
  { change }: PublishedChange,
): ConditionalEntry {
  const { key, subject } = placeOf(site, change);
  const seen = findRecord(view.store, key);
  const expected = seen?.sequence ?? 0;
  const merged = { ...mergeRecords(seen?.record, change), mergedFrom: BigInt(expected) };
  return { entry: { subject, payload: encodeRecord(merged), traceparent }, expectedLastSubjectSequence: expected };
}

function historyEntry(
  { site }: Pick<PublishOptions, "site">,
  history: recordV1.Record | undefined,
): ConditionalEntry[] {
  const name = history && registerName(history.key);
  return name === undefined ? [] : [{ entry: { subject: subjectOf(site, name), payload: encodeRecord(history!) } }];
}
