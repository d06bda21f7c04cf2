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

/** What a line of a tag's history says. */
export interface HistoryLine {
  readonly repository: string;
  readonly tag: string;
  readonly hlc: recordV1.Hlc;
  readonly who: string;
  /** Absent for a deletion. */
  readonly named: { readonly digest: Digest; readonly mediaType: string; readonly size: number } | undefined;
  /** What the tag named before. */
  readonly from: Digest | undefined;
  /** The register that the writer had seen: whoever reads the history can tell which writes were not seen. */
  readonly seen: Seen;
  readonly restored: boolean;
}

/** A line of a tag's history. */
export function historyRecord(line: HistoryLine): recordV1.Record {
  const { repository, tag, hlc, who, named, from, seen, restored } = line;
  const { RESTORED, UNSPECIFIED } = recordV1.HistoryCause;
  const value = create(recordV1.HistoryValueSchema, {
    who,
    site: hlc.site,
    digest: named && toWireDigest(named.digest),
    from: from && toWireDigest(from),
    mediaType: named?.mediaType ?? "",
    size: BigInt(named?.size ?? 0),
    cause: restored ? RESTORED : UNSPECIFIED,
  });
  const put = create(recordV1.PutSchema, { hlc, prev: seenReadings(seen), value: { case: "history", value } });
  return create(recordV1.RecordSchema, { format: RECORD_FORMAT, key: historyKey(repository, tag, hlc), put });
}
