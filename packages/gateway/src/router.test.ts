import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createPathMatcher, matchPath } from "./router.ts";

const hex = "a".repeat(64);

const cases: ReadonlyArray<readonly [path: string, expected: readonly [string, string, string] | undefined]> = [
  ["/v2/", ["ping", "", ""]],
  ["/v2", ["ping", "", ""]],
  ["/token", ["token", "", ""]],
  ["/v2/_catalog", ["catalog", "", ""]],
  ["/v2/a/manifests/latest", ["manifest", "a", "latest"]],
  ["/v2/a/b/c/manifests/latest", ["manifest", "a/b/c", "latest"]],
  ["/v2/manifests/manifests/manifests", ["manifest", "manifests", "manifests"]],
  ["/v2/a/blobs/uploads/manifests/x", ["manifest", "a/blobs/uploads", "x"]],
  [`/v2/a/blobs/sha256:${hex}`, ["blob", "a", `sha256:${hex}`]],
  [`/v2/a/blobs/sha256%3A${hex}`, ["blob", "a", `sha256:${hex}`]],
  ["/v2/a/blobs/uploads/", ["uploads", "a", ""]],
  ["/v2/a/blobs/uploads", ["uploads", "a", ""]],
  ["/v2/a/b/blobs/uploads/abc_-.x", ["upload", "a/b", "abc_-.x"]],
  ["/v2/a/tags/list", ["tags", "a", ""]],
  [`/v2/a/referrers/sha256:${hex}`, ["referrers", "a", `sha256:${hex}`]],
  ["/v2/a/b/_meridian/replication/v1", ["replication", "a/b", "v1"]],
  [`/v2/a/_meridian/route/sha256:${hex}`, ["route", "a", `sha256:${hex}`]],
  ["/v2/_meridian/scrub", ["scrub", "", ""]],
  ["/v2/_meridian/collection", ["collection", "", ""]],
  ["/v2/_meridian/diff", ["diff", "", ""]],
  ["/v2/_meridian/users", ["users", "", ""]],
  ["/v2/_meridian/users/ci%40eu", ["user", "", "ci@eu"]],
  ["/v2/_meridian/users/", undefined],
  ["/v2/a/users/b", undefined],
  ["/v2/_meridian/grants", ["grants", "", ""]],
  ["/v2/_meridian/settings", ["settings", "", ""]],
  ["/v2/a/b/_meridian/settings", ["repository-settings", "a/b", ""]],
  ["/v2/a/_meridian/others", undefined],
  ["/v2/a/b/_meridian/repository", ["repository", "a/b", ""]],
  ["/v2/a/_meridian/deleted", ["deleted", "a", ""]],
  ["/v2/a/b/_meridian/tags/v1/history", ["tag-history", "a/b", "v1"]],
  ["/v2/a/_meridian/tags/manifests/history", ["tag-history", "a", "manifests"]],
  ["/v2/a/_meridian/tags/v1/restore", ["tag-restore", "a", "v1"]],
  [`/v2/a/_meridian/manifests/sha256:${hex}/restore`, ["manifest-restore", "a", `sha256:${hex}`]],
  [`/v2/a/_meridian/manifests/sha256:${hex}/history`, undefined],
  ["/v2/_meridian/tags/v1/history", undefined],
  ["/v2/a/_meridian/tags//history", undefined],
  ["/v2/a/manifests/history", ["manifest", "a", "history"]],
  ["/v2/a/tags/lists", undefined],
  ["/v2/manifests/x", undefined],
  ["/v2/a%2Fb/manifests/x", undefined],
  ["/v2/a%/manifests/x", undefined],
  ["/v2/a/uploads/x", undefined],
  ["/v1/a/manifests/x", undefined],
  ["/", undefined],
  ["", undefined],
  [`/v2/${"a/".repeat(5000)}manifests/x`, undefined],
];

describe("matchPath", () => {
  for (const [path, expected] of cases) {
    test(path.slice(0, 80), () => {
      const match = matchPath(path);
      assert.deepEqual(match && [match.resource, match.name, match.reference], expected);
    });
  }
});

test("a matcher that remembers finds what it found before, however many paths were asked for meanwhile", () => {
  const match = createPathMatcher();
  const first = match("/v2/a/b/manifests/v1");
  assert.deepEqual(first, matchPath("/v2/a/b/manifests/v1"));
  assert.equal(match("/v2/a/b/manifests/v1"), first);
  for (let i = 0; i < 5_000; i++) assert.equal(match(`/v2/a/manifests/${i}`)?.reference, String(i));
  assert.deepEqual(match("/v2/a/b/manifests/v1"), first);
  assert.equal(match("/nothing"), undefined);
});

test("a site's nodes and one node are resources of the registry, nothing below them is", () => {
  const nodes = "/v2/_meridian/nodes";
  assert.deepEqual(matchPath(`${nodes}/eu`), { resource: "nodes", name: "", reference: "eu" });
  assert.deepEqual(matchPath(`${nodes}/eu/blob-node-1`), { resource: "node", name: "", reference: "eu/blob-node-1" });
  for (const path of [nodes, `${nodes}/`, `${nodes}/eu/`, `${nodes}/eu/a/b`])
    assert.equal(matchPath(path), undefined, path);
});
