import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { recordV1 } from "@meridian/wire";
import fc from "fast-check";
import { decodeRecord, decodeStored, encodeRecord, isAlive, mergeRecords } from "./merge.ts";

const site = fc.constantFrom("eu", "us", "ap");
const hlc = fc.record({
  time: fc.bigInt({ min: 1n, max: 5n }),
  site,
  writer: fc.constantFrom("w1", "w2"),
});
const unknown = fc.array(
  fc.record({
    no: fc.integer({ min: 90, max: 93 }),
    wireType: fc.constant(2),
    data: fc.uint8Array({ minLength: 1, maxLength: 2 }).map((bytes) => Uint8Array.of(bytes.length, ...bytes)),
  }),
  { maxLength: 3 },
);
const value = fc.oneof(
  fc.record({ case: fc.constant("link" as const), value: fc.record({ size: fc.bigInt({ min: 0n, max: 3n }) }) }),
  fc.record({
    case: fc.constant("manifest" as const),
    value: fc.record({
      annotations: fc.dictionary(fc.constantFrom("a", "b", "1", "10", "9"), fc.constantFrom("x", "y")),
    }),
  }),
);

/** Records of one key as they could come from any version and any site, in canonical form as every reader has them. */
const record = fc
  .record({
    put: fc.option(fc.record({ hlc, prev: fc.array(hlc, { maxLength: 3 }), value, unknown }), { nil: undefined }),
    deleted: fc.array(hlc, { maxLength: 4 }),
    unknown,
  })
  .map(({ put, deleted, unknown: fields }) => {
    const message = create(recordV1.RecordSchema, {
      format: 1,
      key: { kind: { case: "repository", value: "library/nginx" } },
      put: put && { hlc: put.hlc, prev: put.prev, value: put.value },
      deleted,
      mergedFrom: 7n,
    });
    if (fields.length > 0) message.$unknown = fields;
    if (message.put !== undefined && put !== undefined && put.unknown.length > 0) message.put.$unknown = put.unknown;
    return decodeRecord(toBinary(recordV1.RecordSchema, message));
  });

const hex = (message: recordV1.Record): string => Buffer.from(encodeRecord(message)).toString("hex");

test("merging does not care who comes first", () => {
  fc.assert(fc.property(record, record, (a, b) => assert.equal(hex(mergeRecords(a, b)), hex(mergeRecords(b, a)))));
});

test("merging does not care how it is grouped", () => {
  fc.assert(
    fc.property(record, record, record, (a, b, c) =>
      assert.equal(hex(mergeRecords(mergeRecords(a, b), c)), hex(mergeRecords(a, mergeRecords(b, c)))),
    ),
    { numRuns: 300 },
  );
});

test("merging again changes nothing", () => {
  fc.assert(
    fc.property(record, record, (a, b) => {
      const once = mergeRecords(undefined, a);
      assert.equal(hex(mergeRecords(once, a)), hex(once));
      const both = mergeRecords(a, b);
      assert.equal(hex(mergeRecords(both, b)), hex(both));
    }),
  );
});

test("what was encoded decodes to the same bytes, whatever the order it was written in", () => {
  fc.assert(fc.property(record, (a) => assert.equal(hex(decodeRecord(encodeRecord(a))), hex(a))));
});

test("bytes count as canonical only where they are what encoding makes of their record", () => {
  const mergedFrom = fc.bigInt({ min: 0n, max: 1n });
  const isExact = (a: recordV1.Record, from: bigint): void => {
    const bytes = toBinary(recordV1.RecordSchema, { ...a, mergedFrom: from });
    const { record: read, canonical } = decodeStored(bytes);
    assert.equal(hex(read), hex(decodeRecord(bytes)));
    if (canonical !== undefined) assert.deepEqual(canonical, encodeRecord({ ...read, mergedFrom: 0n }));
  };
  fc.assert(fc.property(record, mergedFrom, isExact));
  const plain = create(recordV1.RecordSchema, {
    format: 1,
    put: { hlc: { time: 1n, site: "eu", writer: "w" }, value: { case: "link", value: { size: 3n } } },
  });
  assert.deepEqual(decodeStored(encodeRecord(plain)).canonical, encodeRecord(plain));
  const unsorted = [2, 1].map((time) => ({ time: BigInt(time), site: time === 1 ? "eu" : "us", writer: "w" }));
  const bytes = toBinary(recordV1.RecordSchema, create(recordV1.RecordSchema, { format: 1, deleted: unsorted }));
  assert.equal(decodeStored(bytes).canonical, undefined);
});

test("fields of a later version survive: the record's as a set, a put's with the put that wins", () => {
  const make = (time: bigint, no: number): recordV1.Record => {
    const message = create(recordV1.RecordSchema, {
      format: 1,
      put: { hlc: { time, site: "eu", writer: "w" }, value: { case: "link", value: { size: time } } },
    });
    message.$unknown = [{ no, wireType: 0, data: Uint8Array.of(1) }];
    if (message.put !== undefined) message.put.$unknown = [{ no: no + 10, wireType: 0, data: Uint8Array.of(2) }];
    return message;
  };
  const merged = decodeRecord(encodeRecord(mergeRecords(make(1n, 101), make(2n, 100))));
  assert.deepEqual(
    merged.$unknown?.map(({ no }) => no),
    [100, 101],
  );
  assert.deepEqual(
    merged.put?.$unknown?.map(({ no }) => no),
    [110],
  );
});

test("a put is dead when its reading is not after what was deleted of its own site, whatever other sites deleted", () => {
  const reading = (time: bigint, of = "eu"): recordV1.Hlc =>
    create(recordV1.HlcSchema, { time, site: of, writer: "w" });
  const make = (...deleted: recordV1.Hlc[]): recordV1.Record =>
    create(recordV1.RecordSchema, { format: 1, put: { hlc: reading(5n) }, deleted });
  assert.equal(isAlive(make()), true);
  assert.equal(isAlive(make(reading(4n))), true);
  assert.equal(isAlive(make(reading(5n))), false);
  assert.equal(isAlive(make(reading(9n, "us"))), true);
  assert.equal(isAlive(undefined), false);
});

test("bytes that are no record of a known format are refused", () => {
  assert.throws(() => decodeRecord(Uint8Array.of(255, 255)), { kind: "invalid" });
  const later = toBinary(recordV1.RecordSchema, create(recordV1.RecordSchema, { format: 2 }));
  assert.throws(() => decodeRecord(later), { kind: "invalid" });
});
