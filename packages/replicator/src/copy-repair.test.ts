import assert from "node:assert/strict";
import { test } from "node:test";
import type { Change } from "@meridian/catalog";
import { TestCluster, type TestSite, until } from "./test-cluster.fixture.ts";

const FAST = { repairEveryMs: 100 };

/** A blob that both sites hold, and say so. */
async function heldByBoth(cluster: TestCluster, text: string) {
  const [eu, us] = [cluster.site("eu"), cluster.site("us")];
  const blob = eu.store(text);
  us.store(text);
  const at = (site: TestSite): Change => ({ kind: "blob-at-node", ...blob, node: site.node, state: "present" });
  await eu.catalog.commit([{ kind: "link", repository: "r", ...blob }, at(eu)]);
  await us.catalog.commit([at(us)]);
  const known = (site: TestSite) => site.catalog.holders(blob.digest).length === 2;
  await until(() => known(eu) && known(us), "both know of both");
  return { ...blob, eu, us };
}

test("a copy that a node lost is fetched again for it from another site", async () => {
  await using cluster = await TestCluster.start(["eu", "us"], FAST);
  const { digest, eu } = await heldByBoth(cluster, "rotten at eu");
  eu.blobs.delete(digest);
  eu.lost.add(digest);
  await until(() => eu.blobs.has(digest), "eu has it again");
  assert.ok(eu.catalog.holders(digest).includes(eu.node));
});

test("while nobody can give it back the records say so, and it comes when somebody can", async () => {
  await using cluster = await TestCluster.start(["eu", "us"], FAST);
  const { digest, eu, us } = await heldByBoth(cluster, "rotten at eu, us away");
  cluster.cut("eu", "us");
  eu.blobs.delete(digest);
  eu.lost.add(digest);
  await until(() => !eu.catalog.holders(digest).includes(eu.node), "eu says that it lost it");
  cluster.heal("eu", "us");
  await until(() => eu.blobs.has(digest), "eu has it again");
  await until(() => us.catalog.holders(digest).includes(eu.node), "us knows");
});

test("the only copy, lost: the records name no holder", async () => {
  await using cluster = await TestCluster.start(["eu"], FAST);
  const eu = cluster.site("eu");
  const blob = eu.store("only here");
  await eu.catalog.commit([
    { kind: "link", repository: "r", ...blob },
    { kind: "blob-at-node", ...blob, node: eu.node, state: "present" },
  ]);
  eu.blobs.delete(blob.digest);
  eu.lost.add(blob.digest);
  await until(() => eu.catalog.holders(blob.digest).length === 0, "no holder");
});

test("a node that starts again is told what records say of it, and what is missing comes back", async () => {
  await using cluster = await TestCluster.start(["eu", "us"], FAST);
  const { digest, eu } = await heldByBoth(cluster, "vanished while eu was down");
  eu.blobs.delete(digest);
  eu.incarnation = "2";
  await until(() => eu.blobs.has(digest), "eu has it again");
});
