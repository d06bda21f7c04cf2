import type { EventLog } from "@meridian/eventlog";
import type { recordV1 } from "@meridian/wire";
import { registerName, subjectOf } from "./keys.ts";
import { decodeRecord, encodeRecord, mergeRecords } from "./merge.ts";
import { type PublishOptions, publishRecord } from "./publish-record.ts";

/** The copy of another site's log. */
export interface CopiedLog {
  readonly log: EventLog;
  readonly site: string;
}

/** What {@link publishUnlessHeld} needs. */
export interface PublishUnlessHeldOptions extends Pick<PublishOptions, "site" | "fold" | "view" | "timers" | "signal"> {
  /** The site's own. */
  readonly log: EventLog;
  readonly record: recordV1.Record;
  /** Other sites' copied logs, by their sites: what one of them holds need not be published either. */
  readonly others?: readonly CopiedLog[];
}

/**
 * Publishes a record, merged, unless the log has all of it already. Returns the sequence; 0 when nothing was written.
 * @throws ContentError as {@link publishRecord} does.
 */
export async function publishUnlessHeld(options: PublishUnlessHeldOptions): Promise<number> {
  const { log, others = [], record, signal, site } = options;
  const name = registerName(record.key);
  if (name === undefined) {
    return 0;
  }
  const subject = subjectOf(site, name);
  if (await holds(log, subject, record)) {
    return 0;
  }
  for (const other of others) {
    if (await holds(other.log, subjectOf(other.site, name), record)) {
      return 0;
    }
  }
  if (name.kind === "history") {
    return log.append({ subject, payload: encodeRecord(record) }, { signal });
  }
  const change = (): recordV1.Record => record;
  return publishRecord({ ...options, change, conflicted: () => Promise.resolve(), traceparent: undefined });
}

/** True when merging the record into what the log has of its register would change nothing. */
async function holds(log: EventLog, subject: string, record: recordV1.Record): Promise<boolean> {
  const last = await log.last(subject);
  if (last === undefined) {
    return false;
  }
  const known = decodeRecord(last.payload);
  return Buffer.compare(encodeRecord(mergeRecords(known, record)), encodeRecord({ ...known, mergedFrom: 0n })) === 0;
}
