import type { NewEntry } from "@meridian/eventlog";
import { ContentError } from "@meridian/oci";
import type { recordV1 } from "@meridian/wire";
import { registerName, subjectOf } from "./keys.ts";
import { encodeRecord } from "./merge.ts";

/**
 * The entry by which the log of a site says what the record says. For who fills a log that no catalog has open: a
 * catalog's own writes go by `commit`, which merges them with what is there.
 * @throws ContentError `invalid` when the record's key is of no known kind or malformed.
 */
export function logEntryOf(site: string, record: recordV1.Record): NewEntry {
  const name = registerName(record.key);
  if (name === undefined) throw new ContentError("invalid", "a record of a kind that no log holds");
  return { subject: subjectOf(site, name), payload: encodeRecord(record) };
}
