import assert from "node:assert/strict";
import { fuzzTarget, parsedOr } from "@meridian/oci/fuzz";
import fc from "fast-check";
import { ConnectionError } from "./errors.ts";
import { FrameReader } from "./frame-reader.ts";
import { type Frame, frameOf } from "./frames.ts";
import { HpackDecoder } from "./hpack-decoder.ts";
import { encodeField } from "./hpack-encoder.ts";
import { readRequest } from "./request-fields.ts";
import type { Field } from "./static-table.ts";

const MAX_LIST_BYTES = 4_096;
const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const isConnectionError = (error: unknown): boolean => error instanceof ConnectionError;

const text = fc.string({
  unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
  maxLength: 20,
});
const name = fc.oneof(text, fc.constantFrom(":method", ":path", ":scheme", "host", "cookie", "content-length", "te"));
const value = fc.oneof(text, fc.constantFrom("GET", "/v2/", "https", "trailers", "7", ""));
/** A literal, one that enters the table, an indexed one, a change of the table's size, or anything. */
const part = fc.oneof(
  fc.tuple(name, value).map(([one, other]) => encodeField(one, other)),
  fc.tuple(name, value).map(([one, other]) => {
    const field = encodeField(one, other);
    return field[0] === 0 ? Buffer.concat([Buffer.of(0x40), field.subarray(1)]) : field;
  }),
  fc.integer({ min: 0x80, max: 0xff }).map((byte) => Buffer.of(byte)),
  fc.integer({ min: 0x20, max: 0x3f }).map((byte) => Buffer.of(byte)),
  fc.uint8Array({ maxLength: 8 }).map((bytes) => Buffer.from(bytes)),
);
const block = fc.array(part, { maxLength: 8 }).map((parts) => Buffer.concat(parts));

const frame = fc
  .tuple(fc.integer({ min: 0, max: 12 }), fc.integer({ min: 0, max: 255 }), fc.nat(9), fc.uint8Array({ maxLength: 40 }))
  .map(([type, flags, id, payload]) => frameOf(type, flags, id, payload));
const bytes = fc
  .tuple(fc.array(frame, { maxLength: 6 }), fc.uint8Array({ maxLength: 12 }), fc.boolean())
  .map(([frames, rest, begins]) => Buffer.concat([begins ? PREFACE : PREFACE.subarray(1), ...frames, rest]));

/** What a client sends over HTTP/2. */
export const targets = [
  fuzzTarget("HTTP/2 field block", fc.array(block, { maxLength: 3 }), (blocks) => {
    const hpack = new HpackDecoder({ maxListBytes: MAX_LIST_BYTES });
    for (const one of blocks) {
      const fields = parsedOr(isConnectionError, () => hpack.decode(one));
      if (fields === undefined) return;
      const again = Buffer.concat(fields.map(([key, text]) => encodeField(key, text)));
      assert.deepEqual(new HpackDecoder({ maxListBytes: MAX_LIST_BYTES }).decode(again), fields);
      checkRequest(fields);
    }
  }),
  fuzzTarget("HTTP/2 frames", fc.tuple(bytes, fc.integer({ min: 1, max: 20 })), ([all, step]) => {
    const whole = framesOf([all]);
    const pieces = Array.from({ length: Math.ceil(all.length / step) }, (_, at) =>
      all.subarray(at * step, (at + 1) * step),
    );
    assert.deepEqual(framesOf(pieces), whole);
  }),
];

function checkRequest(fields: readonly Field[]): void {
  const request = readRequest(fields);
  if (request === undefined) return;
  assert.match(request.path, /^(?:\/[!-~]*|\*)$/);
  for (const [key, text] of request.values) {
    assert.match(key, /^[!-~]+$/);
    assert.doesNotMatch(text, /[\r\n\0]/);
  }
  for (const refused of ["connection", "transfer-encoding", "upgrade"]) assert.ok(!request.values.has(refused));
}

/** All frames, or that it is none. */
function framesOf(chunks: readonly Buffer[]): Frame[] | undefined {
  const reader = new FrameReader();
  return parsedOr(isConnectionError, () => chunks.flatMap((chunk) => [...reader.read(chunk)]));
}
