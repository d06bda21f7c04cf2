import assert from "node:assert/strict";
import { test } from "node:test";
import { CommandError } from "../exit-status.ts";
import { parseImage } from "./image-reference.ts";

const digest = `sha256:${"a".repeat(64)}`;

test("an image is taken apart as users write it", () => {
  const cases: ReadonlyArray<readonly [string, string | undefined, string, string]> = [
    ["demo/app:v1", undefined, "demo/app", "v1"],
    ["demo/app", undefined, "demo/app", "latest"],
    ["app", undefined, "app", "latest"],
    [`demo/app@${digest}`, undefined, "demo/app", digest],
    [`demo/app:v1@${digest}`, undefined, "demo/app", digest],
    ["127.0.0.1:5001/demo/app:v1", "127.0.0.1:5001", "demo/app", "v1"],
    ["docker://[::1]:5001/demo/app:v1", "[::1]:5001", "demo/app", "v1"],
    ["localhost/app:v1", "localhost", "app", "v1"],
    ["registry.example.com/team/app", "registry.example.com", "team/app", "latest"],
  ];
  for (const [text, registry, repository, reference] of cases) {
    assert.deepEqual(parseImage(text), { registry, repository, reference }, text);
  }
});

test("what names nothing is a usage error", () => {
  for (const text of ["", ":v1", `@${digest}`, "localhost/"]) assert.throws(() => parseImage(text), CommandError, text);
});
