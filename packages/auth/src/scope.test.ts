import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isContentError } from "@meridian/oci";
import type { Decider } from "@meridian/policy";
import { grantedAccess } from "./granted-access.ts";
import { parseScopes } from "./scope.ts";

const GOOD: readonly (readonly [string[], readonly [string, string, string[]][]])[] = [
  [[], []],
  [[""], []],
  [["repository:library/debian:pull"], [["repository", "library/debian", ["pull"]]]],
  [["repository:a:pull,push"], [["repository", "a", ["pull", "push"]]]],
  [["repository:a:*"], [["repository", "a", ["*"]]]],
  [["repository:a:"], [["repository", "a", []]]],
  [
    ["repository:a:pull repository:b/c:push"],
    [
      ["repository", "a", ["pull"]],
      ["repository", "b/c", ["push"]],
    ],
  ],
  [["repository:a:pull", "repository:a:push"], [["repository", "a", ["pull", "push"]]]],
  [["repository:localhost:5000/a/b:pull"], [["repository", "localhost:5000/a/b", ["pull"]]]],
  [["repository:registry.example.com/a:pull"], [["repository", "registry.example.com/a", ["pull"]]]],
  [["repository(plugin):a:pull"], [["repository", "a", ["pull"]]]],
  [["registry:catalog:*"], [["registry", "catalog", ["*"]]]],
  [["aws:ecr/thing:describe"], [["aws", "ecr/thing", ["describe"]]]],
];

const BAD = [
  "repository",
  "repository:a",
  "repository::pull",
  ":a:pull",
  "repository:A/B:pull",
  "repository:../a:pull",
  "repository:a//b:pull",
  "repository:a:PULL",
  "repository:a:pull,,push",
  "repository:a:pull;push",
  "Repository:a:pull",
  `repository:${"a".repeat(1_024)}:pull`,
];

/** Allows these `action name` pairs; the registry is named "". */
function deciderOf(...allowed: string[]): Decider {
  return {
    revision: "1.1",
    ageMs: () => 0,
    decide: (_principal, action, resource) => ({
      allow: allowed.includes(`${action} ${resource.kind === "repository" ? resource.name : ""}`),
      policyId: "test",
      revision: "1.1",
    }),
  };
}

describe("scopes", () => {
  for (const [texts, expected] of GOOD)
    it(`reads ${JSON.stringify(texts)}`, () => {
      const scopes = parseScopes(texts).map(({ type, name, actions }) => [type, name, [...actions]]);
      assert.deepEqual(scopes, expected);
    });

  for (const text of BAD)
    it(`refuses ${text.slice(0, 40)}`, () => {
      assert.throws(
        () => parseScopes([text]),
        (error) => isContentError(error, "invalid"),
      );
    });

  it("bounds their number", () => {
    const many = Array.from({ length: 101 }, (_, index) => `repository:a${index}:pull`);
    assert.throws(() => parseScopes(many), /at most 100/);
    assert.equal(parseScopes(many.slice(1)).length, 100);
  });
});

describe("granted access", () => {
  const grant = (texts: string[], decider: Decider) =>
    grantedAccess({ name: "bob" }, parseScopes(texts), decider, { site: "eu" });

  it("drops what the policy does not grant", () => {
    const access = grant(["repository:a:pull,push repository:b:pull"], deciderOf("pull a"));
    assert.deepEqual(access, [{ type: "repository", name: "a", actions: ["pull"] }]);
  });

  it("answers * with what there is, and * itself only for everything", () => {
    const some = grant(["repository:a:*"], deciderOf("pull a", "push a"));
    assert.deepEqual(some[0]?.actions, ["pull", "push"]);
    const all = grant(["repository:a:*"], deciderOf("pull a", "push a", "delete a"));
    assert.deepEqual(all[0]?.actions, ["pull", "push", "delete", "*"]);
  });

  it("grants the catalogue to who may list it, and no other resource", () => {
    assert.deepEqual(grant(["registry:catalog:*"], deciderOf("catalog ")), [
      { type: "registry", name: "catalog", actions: ["*"] },
    ]);
    assert.deepEqual(grant(["registry:catalog:*"], deciderOf()), []);
    assert.deepEqual(grant(["registry:other:* aws:a:pull"], deciderOf("catalog ", "pull a")), []);
  });
});
