import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, test } from "node:test";
import { digestOf } from "@meridian/oci";
import { adminOf } from "./http-client.fixture.ts";
import { startTestCluster, type TestCluster } from "./test-cluster.fixture.ts";

async function holdersOf({ site }: TestCluster, digest: ReturnType<typeof digestOf>): Promise<number> {
  const found = await Promise.all(site.nodes.map(({ store }) => store.stat(digest)));
  return found.filter((info) => info !== undefined).length;
}

describe("a site of three blob nodes", () => {
  test("keeps two copies of blobs and manifests", async () => {
    await using cluster = await startTestCluster({ blobNodes: 3 });
    const admin = adminOf(cluster.site, "team/app");
    const content = randomBytes(5000);
    const digest = digestOf(content);
    const pushed = await admin.call("POST", `/blobs/uploads/?digest=${digest}`, { body: content });
    assert.equal(pushed.headers["meridian-copies"], "2");
    assert.equal(await holdersOf(cluster, digest), 2);
    assert.equal(cluster.site.catalog.holders(digest).length, 2);
    const image = await admin.pushImage("v1");
    assert.equal(image.pushed.headers["meridian-copies"], "2");
    assert.equal(await holdersOf(cluster, image.digest), 2);
  });

  test("copies a session's upload to the owners of what it became", async () => {
    await using cluster = await startTestCluster({ blobNodes: 3 });
    const admin = adminOf(cluster.site, "team/app");
    const content = randomBytes(5000);
    const location = String((await admin.call("POST", "/blobs/uploads/")).headers.location);
    const session = location.slice("/v2/team/app".length);
    const pushed = await admin.call("PUT", `${session}?digest=${digestOf(content)}`, { body: content });
    assert.equal(pushed.status, 201);
    assert.ok((await holdersOf(cluster, digestOf(content))) >= 2);
  });

  test("takes a push while two nodes are down, and says that there is one copy", async () => {
    await using cluster = await startTestCluster({ blobNodes: 3 });
    cluster.site.nodes[0]!.down = true;
    cluster.site.nodes[1]!.down = true;
    const content = randomBytes(5000);
    const path = `/blobs/uploads/?digest=${digestOf(content)}`;
    const pushed = await adminOf(cluster.site, "team/app").call("POST", path, { body: content });
    assert.deepEqual([pushed.status, pushed.headers["meridian-copies"]], [201, "1"]);
  });

  test("refuses it where fewer copies are to be refused", async () => {
    await using cluster = await startTestCluster({ blobNodes: 3, config: { degraded: "refuse" } });
    cluster.site.nodes[0]!.down = true;
    cluster.site.nodes[1]!.down = true;
    const content = randomBytes(5000);
    const path = `/blobs/uploads/?digest=${digestOf(content)}`;
    const answer = await adminOf(cluster.site, "team/app").call("POST", path, { body: content });
    assert.equal(answer.status, 503);
    assert.equal(cluster.site.catalog.blob("team/app", digestOf(content)), undefined);
  });

  test("serves from the other copy when a node is down", async () => {
    await using cluster = await startTestCluster({ blobNodes: 3 });
    const admin = adminOf(cluster.site, "team/app");
    const { layer } = await admin.pushImage("v1", randomBytes(5000));
    for (const node of cluster.site.nodes) {
      node.down = true;
      assert.equal((await admin.get(`/blobs/${layer}`)).status, 200, `without ${node.name}`);
      node.down = false;
    }
  });
});
