import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { digestOf } from "./digest.ts";
import { OciError } from "./errors.ts";
import {
  attachmentSubject,
  parseImageName,
  parseReference,
  parseRepository,
  tryParseReference,
  tryParseRepository,
  tryParseTag,
} from "./reference.ts";

const alphanumeric = fc.stringMatching(/^[a-z0-9]{1,6}$/);
const separator = fc.constantFrom(".", "_", "__", "-", "--", "-----");
const component = fc
  .tuple(alphanumeric, fc.array(fc.tuple(separator, alphanumeric), { maxLength: 3 }))
  .map(([first, more]) => first + more.map((pair) => pair.join("")).join(""));
const repository = fc.array(component, { minLength: 1, maxLength: 5 }).map((parts) => parts.join("/"));

test("takes every name that the grammar makes", () => {
  fc.assert(
    fc.property(repository, (name) => {
      fc.pre(name.length <= 255);
      assert.equal(parseRepository(name), name);
    }),
  );
});

test("refuses names that the grammar does not make", () => {
  const bad = [
    "",
    "/",
    "a/",
    "/a",
    "a//b",
    "A",
    "a..b",
    "a___b",
    "a._b",
    "a-",
    "-a",
    "a b",
    "a:b",
    "a@b",
    "ä",
    "a\n",
    "a/.b",
  ];
  for (const name of bad) assert.equal(tryParseRepository(name), undefined, JSON.stringify(name));
  assert.equal(tryParseRepository("a".repeat(255))?.length, 255);
  assert.equal(tryParseRepository("a".repeat(256)), undefined);
  assert.throws(() => parseRepository("Nginx"), {
    name: "OciError",
    code: "NAME_INVALID",
    status: 400,
    message: /lower-case/,
  });
  assert.throws(() => parseRepository("a".repeat(300)), { message: /300 characters/ });
});

test("refuses hostile names quickly", () => {
  const started = process.cpuUsage();
  for (const part of ["a-", "a__", "a/", "0."]) assert.equal(tryParseRepository(`${part.repeat(120)}!`), undefined);
  const { user, system } = process.cpuUsage(started);
  assert.ok(user + system < 100_000, `${user + system} µs of CPU time`);
});

test("takes tags of up to 128 characters", () => {
  for (const tag of ["latest", "_", "v1.2-3_x", "0", "A".repeat(128)]) assert.equal(tryParseTag(tag), tag);
  for (const tag of ["", ".x", "-x", "a b", "a/b", "a:b", "ä", "A".repeat(129), "x\n"])
    assert.equal(tryParseTag(tag), undefined);
});

test("tells a digest from a tag", () => {
  const digest = digestOf("x");
  assert.deepEqual(parseReference(digest), { kind: "digest", digest });
  assert.deepEqual(parseReference("latest"), { kind: "tag", tag: "latest" });
  assert.throws(() => parseReference("sha256:abc"), { code: "DIGEST_INVALID" });
  assert.throws(() => parseReference("sha256:".padEnd(71, "A")), { code: "DIGEST_INVALID" });
  assert.throws(() => parseReference("-x"), { code: "NAME_INVALID" });
});

test("reads any text without throwing anything but an OciError", () => {
  const text = fc.oneof(fc.string({ unit: "binary" }), fc.stringMatching(/^[a-z0-9A-Z@:/._-]{0,40}$/));
  fc.assert(
    fc.property(text, (value) => {
      for (const parse of [parseRepository, parseReference, parseImageName]) {
        try {
          parse(value);
        } catch (error) {
          assert.ok(error instanceof OciError, String(error));
        }
      }
      assert.equal(
        tryParseReference(value) === undefined,
        throws(() => parseReference(value)),
      );
    }),
    { numRuns: 500 },
  );
});

test("knows which tags are attachments, and of what", () => {
  for (const algorithm of ["sha256", "sha512"] as const) {
    const digest = digestOf("x", algorithm);
    const tag = digest.replace(":", "-");
    for (const suffix of ["", ".sig", ".att", ".sbom"]) assert.equal(attachmentSubject(tag + suffix), digest);
    assert.equal(attachmentSubject(`${tag}.tar`), undefined);
    assert.equal(attachmentSubject(`${tag}0`), undefined);
  }
  assert.equal(attachmentSubject("latest"), undefined);
});

test("reads image names as docker does", () => {
  const digest = digestOf("x");
  assert.deepEqual(parseImageName("127.0.0.1:5001/team/app:v1"), {
    host: "127.0.0.1:5001",
    repository: "team/app",
    tag: "v1",
  });
  assert.deepEqual(parseImageName("localhost/app"), { host: "localhost", repository: "app" });
  assert.deepEqual(parseImageName("team/app"), { repository: "team/app" });
  assert.deepEqual(parseImageName("app:v1"), { repository: "app", tag: "v1" });
  assert.deepEqual(parseImageName(`[::1]:5001/app:v1@${digest}`), {
    host: "[::1]:5001",
    repository: "app",
    tag: "v1",
    digest,
  });
  assert.throws(() => parseImageName("app@v1"), { code: "DIGEST_INVALID" });
  assert.throws(() => parseImageName("App"), { code: "NAME_INVALID" });
});

function throws(run: () => unknown): boolean {
  try {
    run();
    return false;
  } catch {
    return true;
  }
}
