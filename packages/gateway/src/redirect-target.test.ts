import assert from "node:assert/strict";
import { test } from "node:test";
import { mayFollow } from "./redirect-target.ts";

test("clients are sent only to names that are neither the registry's own nor below it", () => {
  const cases: Array<[target: string, registry: string, follows: boolean]> = [
    ["s3.eu-central-1.amazonaws.com", "registry.example.com", true],
    ["bytes.example.com", "registry.example.com", true],
    ["otherregistry.example.com", "registry.example.com", true],
    ["localhost", "127.0.0.1", true],
    ["registry.example.com", "registry.example.com", false],
    ["s3.registry.example.com", "registry.example.com", false],
    ["10.0.0.1", "registry.example.com", false],
    ["127.0.0.1", "127.0.0.1", false],
    ["[::1]", "localhost", false],
  ];
  for (const [target, registry, follows] of cases) assert.equal(mayFollow(target, registry), follows, target);
});
