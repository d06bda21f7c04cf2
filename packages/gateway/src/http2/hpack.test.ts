import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ConnectionError, ErrorCode } from "./errors.ts";
import { HpackDecoder } from "./hpack-decoder.ts";
import { encodeFields, encodeStatus } from "./hpack-encoder.ts";
import { decodeHuffman } from "./huffman.ts";

const bytes = (hex: string): Buffer => Buffer.from(hex.replaceAll(" ", ""), "hex");
const decoder = (maxListBytes = 16_384): HpackDecoder => new HpackDecoder({ maxListBytes });
const FIRST = [
  [":method", "GET"],
  [":scheme", "http"],
  [":path", "/"],
  [":authority", "www.example.com"],
];
const THIRD = [
  [":method", "GET"],
  [":scheme", "https"],
  [":path", "/index.html"],
  [":authority", "www.example.com"],
  ["custom-key", "custom-value"],
];

describe("field blocks (RFC 7541, Appendix C)", () => {
  test("are read with their table, plain", () => {
    const hpack = decoder();
    assert.deepEqual(hpack.decode(bytes("828684410f7777772e6578616d706c652e636f6d")), FIRST);
    assert.deepEqual(hpack.decode(bytes("828684be58086e6f2d6361636865")), [...FIRST, ["cache-control", "no-cache"]]);
    assert.deepEqual(hpack.decode(bytes("828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565")), THIRD);
  });

  test("are read with their table, in Huffman's code", () => {
    const hpack = decoder();
    assert.deepEqual(hpack.decode(bytes("828684418cf1e3c2e5f23a6ba0ab90f4ff")), FIRST);
    assert.deepEqual(hpack.decode(bytes("828684be5886a8eb10649cbf")), [...FIRST, ["cache-control", "no-cache"]]);
    assert.deepEqual(hpack.decode(bytes("828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf")), THIRD);
  });

  test("drop the oldest entries of a table that is full", () => {
    const hpack = decoder(1_000_000);
    const long = (letter: string): Buffer => Buffer.from(letter.repeat(100));
    const insert = (letter: string): Buffer =>
      Buffer.concat([bytes("4001"), Buffer.from(letter), bytes("64"), long(letter)]);
    // Each counts 133 bytes: 30 fit into 4 096.
    for (const letter of "abcdefghijklmnopqrstuvwxyzABCDEF") hpack.decode(insert(letter));
    assert.deepEqual(hpack.decode(bytes("be")), [["F", long("F").toString()]]);
    assert.deepEqual(hpack.decode(Buffer.of(0x80 | (61 + 30))), [["c", long("c").toString()]]);
    assert.throws(() => hpack.decode(Buffer.of(0x80 | (61 + 31))), isCompressionError);
  });

  test("are too large when they are, and the table follows all the same", () => {
    const hpack = decoder(100);
    assert.equal(hpack.decode(bytes("828684410f7777772e6578616d706c652e636f6d")), undefined);
    assert.deepEqual(hpack.decode(bytes("be")), [[":authority", "www.example.com"]]);
  });

  const broken: Record<string, string> = {
    "an index of nothing": "80",
    "an index beyond the table": "be",
    "a string that is cut off": "0003616263056162",
    "a number without end": "ffffffffffffff01",
    "a number that is cut off": "ff",
    "a table larger than allowed": "3fe21f",
    "a table's size behind a field": "8220",
    "padding of zeros": "00018118",
    "padding of a byte": "000161821fff",
    "the end of a string inside it": "00016184ffffffff",
  };
  for (const [what, block] of Object.entries(broken))
    test(`with ${what} are broken`, () => {
      assert.throws(() => decoder().decode(bytes(block)), isCompressionError);
    });

  test("of answers are read as they were meant", () => {
    const headers = ["Content-Type", "a/b", "X-Long", "c".repeat(300), "Set-Cookie", "d", "Set-Cookie", "é"];
    const encoded = Buffer.concat([encodeStatus(200), encodeStatus(416), encodeFields(headers).bytes]);
    assert.deepEqual(decoder().decode(encoded), [
      [":status", "200"],
      [":status", "416"],
      ["content-type", "a/b"],
      ["x-long", "c".repeat(300)],
      ["set-cookie", "d"],
      ["set-cookie", "é"],
    ]);
  });

  test("of answers hold no line ends", () => {
    assert.throws(() => encodeFields(["X-A", "1\r\nX-B: 2"]), TypeError);
  });
});

test("every byte has its code (RFC 7541, Appendix B)", () => {
  // The codes of bytes 0 to 255, one after the other.
  const encoded = [
    "ffc7fffd8fffffe2fffffe3fffffe4fffffe5fffffe6fffffe7fffffe8ffffeafffffff3fffffa7fffffabffffffdfffffeb",
    "fffffecfffffedfffffeefffffefffffff0ffffff1ffffff2fffffffbfffffcffffffd3fffffd7fffffdbfffffdffffffe3f",
    "ffffe7fffffebfffffed4fe3f9ffaffcabf1febfafefe7fdfd2cbb00089969b71d79fb9f7fff20ffbff3ff50ddbd7f061c58",
    "f265cd9f469d5af66dddbf871e5f9cff7ff7fffc3ff9ffe45fff4719242cb34e6e9d68a6a3d7dac426defe3cfaf7fffbfe7f",
    "fbffdffffffcfffe6ffff4bfff9ffffa3fffd3ffff53fffd5ffffb3fffeb7fffdaffffb7ffff73fffeeffffdeffffebffffb",
    "fffffd9ffffdbfffebffffe0ffffeeffffc3ffff8bffff1ffffe4fffee7fffb1ffff97fffd9ffffcdffff9fffffbffffdaff",
    "feeffff4ffffb7fffee7fffe8ffffd3fffdeffffd5fffeeffffbdffffe1fffdfffff7fffff5ffffecffff07fff87fffe0fff",
    "f17fffedffff87ffff77fffeffffeaffff8bfffe3ffff93ffff87fffcbffff37ffff1fffff83ffffe1fffebfffe3ffff3fff",
    "ff2ffffa3ffffd9fffff17ffffc7fffff27ffffdefffffbffffff2fffff8fffffb7fff97fff8fffffe6fffffc1fffff87fff",
    "fe7fffffc5ffffe5fffe4ffff2fffffd1fffff4ffffffefffffe3fffffc9fffff97fffb3ffffcffffb7fffcdffff4ffff9ff",
    "ffd1ffffcffffeaffffafffffddffffeffffff4fffff5fffffabffffa7ffffd7fffff9bffffecfffffb7fffff3fffffe8fff",
    "ffd3fffffabfffff5fffffff7ffffecfffffdbfffffbbfffff7ffffff0fffffbbf",
  ].join("");
  assert.equal(
    decodeHuffman(bytes(encoded)),
    Buffer.from(Uint8Array.from({ length: 256 }, (_, byte) => byte)).toString("latin1"),
  );
});

function isCompressionError(error: unknown): boolean {
  return error instanceof ConnectionError && error.code === ErrorCode.compression;
}
