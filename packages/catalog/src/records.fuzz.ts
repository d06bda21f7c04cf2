import assert from "node:assert/strict";
import { create, toBinary } from "@bufbuild/protobuf";
import { isContentError } from "@meridian/oci";
import { fuzzTarget, hostileBytes, hostileText, parsedOr } from "@meridian/oci/fuzz";
import { recordV1 } from "@meridian/wire";
import fc from "fast-check";
import { decodeRecord, encodeRecord } from "./merge.ts";
import { formatVersion, parseVersion } from "./version-token.ts";

const isInvalid = (error: unknown): boolean => isContentError(error, "invalid");
const word = fc.string({ maxLength: 10 });
const reading = fc.record({
  time: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  site: fc.constantFrom("eu", "us"),
  writer: word,
});
const manifest = fc.record({
  mediaType: word,
  size: fc.bigInt({ min: 0n, max: 2n ** 40n }),
  annotations: fc.dictionary(word, word, { maxKeys: 4 }),
});
const record = fc
  .record(
    {
      format: fc.constantFrom(1, 1, 1, 2),
      put: fc.record(
        {
          hlc: reading,
          prev: fc.array(reading, { maxLength: 3 }),
          value: manifest.map((value) => ({ case: "manifest" as const, value })),
        },
        { requiredKeys: [] },
      ),
      deleted: fc.array(reading, { maxLength: 3 }),
    },
    { requiredKeys: ["format"] },
  )
  .map((fields) => toBinary(recordV1.RecordSchema, create(recordV1.RecordSchema, fields as object)));

const vector = fc
  .array(fc.tuple(word, fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), word, fc.maxSafeNat()), { maxLength: 4 })
  .map((rows) =>
    formatVersion(
      new Map(rows.map(([site, created, id, sequence]) => [site, { incarnation: { created, id }, sequence }])),
    ),
  );

/** What comes from other sites and from clients about versions. */
export const targets = [
  fuzzTarget("record", hostileBytes(record), (bytes) => {
    const decoded = parsedOr(isInvalid, () => decodeRecord(bytes));
    if (decoded === undefined) return;
    const encoded = encodeRecord(decoded);
    assert.deepEqual(encodeRecord(decodeRecord(encoded)), encoded, "its canonical form has another one");
  }),
  fuzzTarget("version token", hostileText(vector), (text) => {
    const parsed = parsedOr(isInvalid, () => parseVersion(text));
    if (parsed !== undefined) assert.deepEqual(parseVersion(formatVersion(parsed)), parsed);
  }),
];
