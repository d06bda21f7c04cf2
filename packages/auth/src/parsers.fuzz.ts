import assert from "node:assert/strict";
import { isContentError } from "@meridian/oci";
import { fuzzTarget, hostileText, parsedOr } from "@meridian/oci/fuzz";
import fc from "fast-check";
import { formatPasswordHash, parsePasswordHash } from "./phc.ts";
import { parseScopes } from "./scope.ts";

const isInvalid = (error: unknown): boolean => isContentError(error, "invalid");
const name = fc.constantFrom(
  "team/app",
  "a",
  "registry.example:5001/team/app",
  "catalog",
  "a--b/c__d",
  `${"a".repeat(200)}`,
  "*",
);
const scope = fc
  .tuple(
    fc.constantFrom("repository", "registry", "repository(plugin)"),
    name,
    fc.constantFrom("pull", "pull,push", "*", "", "delete,*"),
  )
  .map((parts) => parts.join(":"));
const hash = fc
  .record({
    memoryKib: fc.integer({ min: 8, max: 300_000 }),
    passes: fc.integer({ min: 0, max: 20 }),
    parallelism: fc.integer({ min: 0, max: 9 }),
    salt: fc.uint8Array({ minLength: 8, maxLength: 64 }),
    tag: fc.uint8Array({ minLength: 16, maxLength: 64 }),
  })
  .map(formatPasswordHash);

/** What a token is asked for with, and what a configuration says of a password. */
export const targets = [
  fuzzTarget("scope", fc.array(hostileText(scope), { maxLength: 4 }), (texts) => {
    const scopes = parsedOr(isInvalid, () => parseScopes(texts));
    if (scopes === undefined) return;
    const again = scopes.map(({ type, name: resource, actions }) => `${type}:${resource}:${[...actions].join(",")}`);
    assert.deepEqual(parseScopes(again), scopes);
  }),
  fuzzTarget("password hash", hostileText(hash), (text) => {
    const parsed = parsedOr(isInvalid, () => parsePasswordHash(text));
    if (parsed !== undefined) assert.deepEqual(parsePasswordHash(formatPasswordHash(parsed)), parsed);
  }),
];
