import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { formatVersion, parseVersion } from "./version-token.ts";

const plain = { noNullPrototype: true };
const position = fc.record(
  {
    incarnation: fc.record(
      { created: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), id: fc.string({ maxLength: 20 }) },
      plain,
    ),
    sequence: fc.nat(),
  },
  plain,
);

test("a token says what was put into it, in one way whatever the order", () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(fc.tuple(fc.string({ maxLength: 10 }), position), { selector: ([site]) => site }),
      (rows) => {
        const token = formatVersion(new Map(rows));
        assert.match(token, /^[A-Za-z0-9_-]+$/);
        assert.deepEqual(new Map([...parseVersion(token)].sort()), new Map([...rows].sort()));
        assert.equal(formatVersion(new Map([...rows].reverse())), token);
      },
    ),
  );
});

test("anything else is refused", () => {
  const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const wrong = [
    "",
    "%%%",
    "e30",
    encode([2]),
    encode([1, ["eu"]]),
    encode([1, ["eu", "zz", "id", 1]]),
    encode([1, ["eu", "1", "id", -1]]),
    "A".repeat(9_000),
  ];
  const utf8 = Buffer.from([...Buffer.from('[1,["'), ...Buffer.alloc(4_000, 0xa2), ...Buffer.from('","1","id",1]]')]);
  const respelt = [
    // Each byte that is no UTF-8 would become three.
    utf8.toString("base64url"),
    // Each sequence would become twenty digits.
    Buffer.from(`[1,${Array.from({ length: 300 }, (_, n) => `["${n}","1","",9e15]`).join(",")}]`).toString("base64url"),
    Buffer.from('[1,["eu","01","id",1]]').toString("base64url"),
    Buffer.from('[1, ["eu","1","id",1]]').toString("base64url"),
    encode([1, ["us", "1", "id", 1], ["eu", "1", "id", 1]]),
    encode([1, ["eu", "1", "id", 1], ["eu", "1", "id", 2]]),
  ];
  for (const token of [...wrong, ...respelt]) {
    assert.throws(() => parseVersion(token), { kind: "invalid" }, token.slice(0, 40));
  }
  assert.deepEqual(parseVersion(encode([1])), new Map());
});
