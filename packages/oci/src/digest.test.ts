import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { ContentError } from "./content-error.ts";
import {
  Digester,
  digestAlgorithm,
  digestBytes,
  digestFromBytes,
  digestHex,
  digestOf,
  parseDigest,
  tryParseDigest,
} from "./digest.ts";

test("knows sha256 and sha512", () => {
  assert.equal(digestOf(""), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  assert.match(digestOf("", "sha512"), /^sha512:cf83e1357eefb8bdf1542850d66d8007/);
});

test("refuses other algorithms, lengths and upper case", () => {
  const hex = digestHex(digestOf("x"));
  for (const text of [
    "",
    hex,
    `sha256:${hex}0`,
    `sha256:${hex.slice(1)}`,
    `sha256:${hex.toUpperCase()}`,
    `md5:${hex}`,
    `sha256:${hex}\n`,
  ]) {
    assert.equal(tryParseDigest(text), undefined, JSON.stringify(text));
    assert.throws(() => parseDigest(text), ContentError);
  }
});

test("takes digests apart and puts them together again", () => {
  fc.assert(
    fc.property(fc.uint8Array(), fc.constantFrom("sha256" as const, "sha512" as const), (content, algorithm) => {
      const digest = digestOf(content, algorithm);
      assert.equal(parseDigest(digest), digest);
      assert.equal(digestAlgorithm(digest), algorithm);
      assert.equal(digestFromBytes(algorithm, digestBytes(digest)), digest);
      assert.equal(`${algorithm}:${digestHex(digest)}`, digest);
    }),
  );
  assert.throws(() => digestFromBytes("sha512", digestBytes(digestOf("x"))), ContentError);
});

test("hashes as bytes pass, and may be asked in between", () => {
  const digester = new Digester();
  assert.equal(digester.current(), digestOf(""));
  digester.update(Buffer.from("ab"));
  assert.equal(digester.current(), digestOf("ab"));
  digester.update(Buffer.from("c"));
  assert.equal(digester.current(), digestOf("abc"));
});
