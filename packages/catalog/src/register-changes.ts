import { create } from "@bufbuild/protobuf";
import type { Digest } from "@meridian/oci";
import { recordV1 } from "@meridian/wire";
import { historyKey } from "./keys.ts";
import { mergeReadings, RECORD_FORMAT, seenReadings } from "./merge.ts";
import { toWireDigest } from "./wire-digest.ts";

type Seen = recordV1.Record | undefined;

/** A put on top of what was seen of the register, to be merged with it. */
export function putRecord(
  key: recordV1.Key,
  value: recordV1.Put["value"],
  seen: Seen,
  hlc: recordV1.Hlc,
): recordV1.Record {
  const put = create(recordV1.PutSchema, { hlc, prev: seenReadings(seen), value });
  return create(recordV1.RecordSchema, { format: RECORD_FORMAT, key, put });
}

/**
 * A deletion of what was seen of the register: for each site the greatest reading of its puts, so that a put which the
 * deleter had not seen survives (an observed-remove register).
 */
export function deleteRecord(key: recordV1.Key, seen: Seen): recordV1.Record {
  const put = seen?.put;
  const deleted = put?.hlc === undefined ? [] : mergeReadings(put.prev, [put.hlc]);
  return create(recordV1.RecordSchema, { format: RECORD_FORMAT, key, deleted });
}

/** A line of a tag's history. */
export function historyRecord(line: {
  repository: string;
  tag: string;
  hlc: recordV1.Hlc;
  who: string;
  /** Absent for a deletion. */
  digest: Digest | undefined;
  /** What the tag named before. */
  from: Digest | undefined;
}): recordV1.Record {
  const { repository, tag, hlc, who, digest, from } = line;
  const value = create(recordV1.HistoryValueSchema, {
    who,
    site: hlc.site,
    digest: digest && toWireDigest(digest),
    from: from && toWireDigest(from),
  });
  const put = create(recordV1.PutSchema, { hlc, value: { case: "history", value } });
  return create(recordV1.RecordSchema, { format: RECORD_FORMAT, key: historyKey(repository, tag, hlc), put });
}
