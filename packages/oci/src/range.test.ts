import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { OciError } from "./errors.ts";
import { formatContentRange, formatUploadRange, parseContentRange, parseRange } from "./range.ts";

const spans = (header: string, size = 100): string | undefined =>
  parseRange(header, size)
    ?.map(({ start, end }) => `${start}-${end}`)
    .join();

test("reads closed, open and suffix ranges", () => {
  assert.equal(spans("bytes=0-9"), "0-10");
  assert.equal(spans("bytes=99-99"), "99-100");
  assert.equal(spans("bytes=40-"), "40-100");
  assert.equal(spans("bytes=-10"), "90-100");
  assert.equal(spans("Bytes= 0-9 "), "0-10");
});

test("clamps what goes past the end", () => {
  assert.equal(spans("bytes=90-1000"), "90-100");
  assert.equal(spans("bytes=-1000"), "0-100");
  assert.equal(spans(`bytes=0-${"9".repeat(400)}`), "0-100");
});

test("keeps the order and the overlaps of a list, and leaves out what does not exist", () => {
  assert.equal(spans("bytes=50-59,0-9 , 5-14,,200-300"), "50-60,0-10,5-15");
});

test("sends the whole without a header, for other units and for an empty blob's suffix", () => {
  assert.equal(parseRange(undefined, 100), undefined);
  assert.equal(spans("lines=1-2"), undefined);
  assert.equal(spans("nonsense"), undefined);
  assert.equal(spans("bytes=-5", 0), undefined);
});

test("answers 416 when nothing of it exists or it is malformed", () => {
  const bad = [
    "bytes=100-",
    "bytes=100-200",
    "bytes=-0",
    "bytes=",
    "bytes=,",
    "bytes=a-b",
    "bytes=5",
    "bytes=9-5",
    "bytes=0-1;2-3",
  ];
  for (const header of [...bad, "bytes=--5", "bytes=1-2-3", "bytes=0x1-2", `bytes=${"9".repeat(400)}-`]) {
    assert.throws(
      () => spans(header),
      { name: "OciError", code: "RANGE_INVALID", status: 416, detail: { size: 100 } } as object,
      header,
    );
  }
  assert.throws(() => spans("bytes=0-", 0), { status: 416 });
});

test("takes 512 ranges and refuses more with 400", () => {
  const header = (count: number): string => `bytes=${Array.from({ length: count }, (_, i) => `${i}-${i}`).join()}`;
  assert.equal(parseRange(header(512), 1000)?.length, 512);
  assert.throws(() => parseRange(header(513), 1000), { code: "RANGE_INVALID", status: 400 });
});

test("gives spans inside the blob for any header, or refuses", () => {
  const number = fc.oneof(fc.nat(200).map(String), fc.constant(""), fc.constant("99999999999999999999"));
  const part = fc.oneof(
    fc.tuple(number, number).map((pair) => pair.join("-")),
    fc.string({ maxLength: 5 }),
  );
  const header = fc.oneof(
    fc.array(part, { maxLength: 6 }).map((parts) => `bytes=${parts.join()}`),
    fc.string(),
  );
  fc.assert(
    fc.property(header, fc.nat(150), (header, size) => {
      try {
        for (const { start, end } of parseRange(header, size) ?? []) {
          assert.ok(0 <= start && start < end && end <= size && Number.isSafeInteger(end));
        }
      } catch (error) {
        if (!(error instanceof OciError)) throw error;
      }
    }),
    { numRuns: 1000 },
  );
});

test("agrees with a byte-by-byte reading of every single range", () => {
  fc.assert(
    fc.property(fc.nat(60), fc.nat(60), fc.integer({ min: 1, max: 50 }), (first, length, size) => {
      const last = first + length;
      const wanted = Array.from({ length: size }, (_, i) => i).filter((i) => i >= first && i <= last);
      if (wanted.length === 0) assert.throws(() => parseRange(`bytes=${first}-${last}`, size), OciError);
      else
        assert.deepEqual(parseRange(`bytes=${first}-${last}`, size), [{ start: wanted[0], end: wanted.at(-1)! + 1 }]);
    }),
  );
});

test("writes Content-Range", () => {
  assert.equal(formatContentRange({ start: 0, end: 10 }, 100), "bytes 0-9/100");
  assert.equal(formatContentRange(undefined, 100), "bytes */100");
});

test("reads where a chunk belongs", () => {
  assert.deepEqual(parseContentRange("0-9"), { start: 0, end: 10 });
  assert.deepEqual(parseContentRange("bytes 10-19/*"), { start: 10, end: 20 });
  assert.deepEqual(parseContentRange("bytes=10-19"), { start: 10, end: 20 });
  assert.equal(parseContentRange(undefined), undefined);
  const last = { start: 9, end: 1e15 };
  assert.deepEqual(parseContentRange(formatContentRange(last, last.end)), last, "found by fuzzing");
  for (const header of ["", "5", "9-5", "a-b", "0-", "-5", "0-9,20-29", "0-9999999999999999999"]) {
    assert.throws(() => parseContentRange(header), { code: "BLOB_UPLOAD_INVALID", status: 400 }, header);
  }
});

test("tells how much of an upload has arrived", () => {
  assert.equal(formatUploadRange(0), "0-0");
  assert.equal(formatUploadRange(1), "0-0");
  assert.equal(formatUploadRange(100), "0-99");
});
