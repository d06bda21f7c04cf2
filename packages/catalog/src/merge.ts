import { create, fromBinary, toBinary, type UnknownField } from "@bufbuild/protobuf";
import { ContentError } from "@meridian/oci";
import { recordV1 } from "@meridian/wire";
import { compareHlc, compareNames } from "./hlc.ts";

/** The format of records that this version reads and writes. */
export const RECORD_FORMAT = 1;

/**
 * Joins two states of one register: the put with the larger reading, and per site the larger of what was deleted.
 * Commutative, associative and idempotent, so order, duplicates and replays do not matter. Fields that this version
 * does not know are kept: those of the record as a set, those of a put with the put.
 * `mergedFrom` is 0 in the result: it belongs to a log's entry, not to the register.
 */
export function mergeRecords(a: recordV1.Record | undefined, b: recordV1.Record): recordV1.Record {
  if (a === undefined) {
    return b.mergedFrom === 0n ? b : { ...b, mergedFrom: 0n };
  }
  const record = create(recordV1.RecordSchema, {
    format: Math.max(a.format, b.format),
    key: a.key?.$unknown === undefined && b.key?.$unknown === undefined ? a.key : largerKey(a.key, b.key),
    put: laterPut(a.put, b.put),
    deleted: mergeReadings(a.deleted, b.deleted),
  });
  const unknown = mergeUnknown(a.$unknown, b.$unknown);
  return unknown === undefined ? record : Object.assign(record, { $unknown: unknown });
}

/** True when the register has a put that no delete has seen: a put is dead iff its reading is not after `deleted` of its own site. */
export function isAlive(record: recordV1.Record | undefined): record is LiveRecord {
  const hlc = record?.put?.hlc;
  if (record === undefined || hlc === undefined) {
    return false;
  }
  const deleted = record.deleted.find(({ site }) => site === hlc.site);
  return deleted === undefined || compareHlc(hlc, deleted) > 0;
}

/** A record whose put is there and not deleted. */
export type LiveRecord = recordV1.Record & { put: recordV1.Put & { hlc: recordV1.Hlc } };

/** For each site the larger reading, sorted by site. */
export function mergeReadings(a: readonly recordV1.Hlc[], b: readonly recordV1.Hlc[]): recordV1.Hlc[] {
  if (b.length === 0 && isSortedBySite(a)) {
    return [...a];
  }
  const bySite = new Map<string, recordV1.Hlc>();
  for (const hlc of [...a, ...b]) {
    const known = bySite.get(hlc.site);
    if (known === undefined || compareHlc(known, hlc) < 0) {
      bySite.set(hlc.site, hlc);
    }
  }
  return [...bySite.values()].sort((x, y) => compareNames(x.site, y.site));
}

/** What was seen of a key by whoever holds this record: one reading a site, sorted by site. */
export function seenReadings(record: recordV1.Record | undefined): recordV1.Hlc[] {
  const put = record?.put;
  const puts = put?.hlc === undefined ? [] : mergeReadings(put.prev, [put.hlc]);
  return mergeReadings(puts, record?.deleted ?? []);
}

/** The largest time that the record knows of; 0 when it knows none. */
export function latestTime(record: recordV1.Record | undefined): bigint {
  let latest = 0n;
  for (const { time } of seenReadings(record)) {
    if (time > latest) {
      latest = time;
    }
  }
  return latest;
}

/** Encodes a record so that equal registers are equal bytes: repeated fields, maps and unknown fields in one order. */
export function encodeRecord(record: recordV1.Record): Uint8Array<ArrayBuffer> {
  return toBinary(recordV1.RecordSchema, canonicalRecord(record));
}

/**
 * Reads a record from a log, a view or a peer.
 * @throws ContentError `invalid` when the bytes are no record of a format that this version knows.
 */
export function decodeRecord(bytes: Uint8Array): recordV1.Record {
  return requireRecord(readRecord(bytes));
}

function readRecord(bytes: Uint8Array): recordV1.Record {
  try {
    return fromBinary(recordV1.RecordSchema, bytes);
  } catch (cause) {
    throw new ContentError("invalid", "bytes that are no record", { cause });
  }
}

/**
 * Reads a record as {@link decodeRecord} does. `canonical` is the bytes themselves where they are what
 * {@link encodeRecord} would make of the record: then nobody needs to encode it again. Absent where that is not sure.
 */
export function decodeStored(bytes: Uint8Array): { record: recordV1.Record; canonical?: Uint8Array } {
  const read = readRecord(bytes);
  const record = requireRecord(read);
  // What this version does not know comes last when it encodes, and may be elsewhere in the bytes. Every version writes
  // fields in the order of their numbers.
  const isPlain = record === read && record.mergedFrom === 0n && !hasUnknown(record);
  return isPlain ? { record, canonical: bytes } : { record };
}

function hasUnknown({ $unknown, key, put }: recordV1.Record): boolean {
  const value = put?.value.value;
  return [$unknown, key?.$unknown, put?.$unknown, put?.hlc?.$unknown, value?.$unknown].some((unknown) => unknown);
}

/** Checks a record that arrived as a message. @throws ContentError `invalid` as {@link decodeRecord} does. */
export function requireRecord(record: recordV1.Record): recordV1.Record {
  if (record.format !== RECORD_FORMAT) {
    throw new ContentError("invalid", `a record of format ${record.format}, this version knows ${RECORD_FORMAT}`);
  }
  if (record.put !== undefined && record.put.hlc === undefined) {
    throw new ContentError("invalid", "a record whose put has no reading");
  }
  return canonicalRecord(record);
}

function canonicalRecord(record: recordV1.Record): recordV1.Record {
  const { put, deleted, $unknown } = record;
  const canonicalPut = put === undefined ? undefined : canonicalize(put);
  if (canonicalPut === put && isSortedBySite(deleted) && ($unknown?.length ?? 0) < 2) {
    return record;
  }
  const canonical = { ...record, put: canonicalPut, deleted: mergeReadings(deleted, []) };
  const unknown = mergeUnknown($unknown, undefined);
  return unknown === undefined ? canonical : { ...canonical, $unknown: unknown };
}

function canonicalize(put: recordV1.Put): recordV1.Put {
  const sorted = isSortedBySite(put.prev) ? put : { ...put, prev: mergeReadings(put.prev, []) };
  const { value } = sorted;
  if (value.case !== "manifest") {
    return sorted;
  }
  const names = Object.keys(value.value.annotations);
  if (names.every((name, index) => index === 0 || compareNames(names[index - 1] ?? "", name) < 0)) {
    return sorted;
  }
  // Names that look like array indexes come first in an object whatever is done: the order is still one.
  const annotations = Object.fromEntries(
    Object.entries(value.value.annotations).sort(([a], [b]) => compareNames(a, b)),
  );
  return { ...sorted, value: { case: "manifest", value: { ...value.value, annotations } } };
}

function isSortedBySite(readings: readonly recordV1.Hlc[]): boolean {
  return readings.every((hlc, index) => index === 0 || compareNames(readings[index - 1]?.site ?? "", hlc.site) < 0);
}

function laterPut(a: recordV1.Put | undefined, b: recordV1.Put | undefined): recordV1.Put | undefined {
  if (a?.hlc === undefined || b?.hlc === undefined) {
    return a?.hlc === undefined ? b : a;
  }
  const order = compareHlc(a.hlc, b.hlc);
  if (order !== 0) {
    return order > 0 ? a : b;
  }
  // One write in two wordings cannot be, but the views must agree even then.
  return Buffer.compare(encodePut(a), encodePut(b)) >= 0 ? a : b;
}

function encodePut(put: recordV1.Put): Uint8Array {
  return toBinary(recordV1.PutSchema, canonicalize(put));
}

function largerKey(a: recordV1.Key | undefined, b: recordV1.Key | undefined): recordV1.Key | undefined {
  if (a === undefined || b === undefined) {
    return a ?? b;
  }
  return Buffer.compare(toBinary(recordV1.KeySchema, a), toBinary(recordV1.KeySchema, b)) >= 0 ? a : b;
}

function mergeUnknown(a: UnknownField[] | undefined, b: UnknownField[] | undefined): UnknownField[] | undefined {
  if (a === undefined && b === undefined) {
    return undefined;
  }
  const sorted = [...(a ?? []), ...(b ?? [])].sort(compareUnknown);
  return sorted.filter((field, index) => index === 0 || compareUnknown(sorted[index - 1]!, field) !== 0);
}

function compareUnknown(a: UnknownField, b: UnknownField): number {
  return a.no - b.no || a.wireType - b.wireType || Buffer.compare(a.data, b.data);
}
