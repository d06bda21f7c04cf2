import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { recordV1 } from "@meridian/wire";
import * as keys from "./keys.ts";
import { digestFor } from "./simulated-site.ts";

test("subjects are short hashes under the owner's name, one subject per register", () => {
  const name = keys.registerName(keys.tagKey("library/nginx", "latest"));
  assert.ok(name !== undefined);
  const subject = keys.subjectOf("eu", name);
  assert.match(subject, /^m\.eu\.tag\.[a-z2-7]{26}\.[a-z2-7]{26}$/);
  assert.equal(keys.subjectKind(subject), "tag");
  const bits = [...createHash("sha256").update("library/nginx").digest().subarray(0, 16)]
    .map((byte) => byte.toString(2).padStart(8, "0"))
    .join("");
  const letters = bits
    .match(/.{1,5}/g)
    ?.map((five) => "abcdefghijklmnopqrstuvwxyz234567"[Number.parseInt(five.padEnd(5, "0"), 2)]);
  assert.equal(subject.split(".")[3], letters?.join(""));
});

test("every kind has its key in the view, but for the history", () => {
  const digest = digestFor("x");
  const viewKey = (key: recordV1.Key): string | undefined => {
    const name = keys.registerName(key);
    return name && keys.viewKey(name);
  };
  assert.equal(viewKey(keys.tagKey("a/b", "latest")), "rt a/b latest");
  assert.equal(viewKey(keys.manifestKey("a/b", digest)), `rm a/b ${digest}`);
  assert.equal(viewKey(keys.linkKey("a/b", digest)), `rl a/b ${digest}`);
  assert.equal(viewKey(keys.blobAtNodeKey(digest, "eu/n1")), `rb ${digest} eu/n1`);
  assert.equal(viewKey(keys.repositoryKey("a/b")), "rr a/b");
  const hlc = create(recordV1.HlcSchema, { time: 1n, site: "eu", writer: "w" });
  assert.equal(viewKey(keys.historyKey("a/b", "latest", hlc)), undefined);
});

test("names that would break a key are refused, kinds of later versions are not known", () => {
  for (const name of ["", "a b", "a\0b", "a\nb"]) {
    assert.throws(() => keys.registerName(keys.tagKey("a", name)), { kind: "invalid" }, JSON.stringify(name));
  }
  assert.throws(
    () => keys.registerName(create(recordV1.KeySchema, { kind: { case: "link", value: { repository: "a" } } })),
    {
      kind: "invalid",
    },
  );
  assert.equal(keys.registerName(create(recordV1.KeySchema)), undefined);
  for (const subject of ["m.eu.session.abc", "m.eu.later.abc", "m.eu.toString.abc", "p.x"]) {
    assert.equal(keys.subjectKind(subject), undefined);
  }
});
