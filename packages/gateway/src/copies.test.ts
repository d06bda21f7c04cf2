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

/** An upload session that has begun, and how to finish it as docker does: all bytes in one chunk, then a PUT. */
async function session(cluster: TestCluster, content: Buffer) {
  const admin = adminOf(cluster.site, "team/app");
  const begun = await admin.call("POST", "/blobs/uploads/");
  const location = String(begun.headers.location).slice("/v2/team/app".length);
  const digest = digestOf(content);
  const push = async () => {
    const taken = await admin.call("PATCH", location, { body: content });
    assert.equal(taken.status, 202, String(taken.body));
    const pushed = await admin.call("PUT", `${location}?digest=${digest}`);
    return [pushed.status, pushed.headers["meridian-copies"]];
  };
  return { admin, location, content, digest, push };
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

  test("has both copies of a session's upload when it is committed, without moving bytes", async () => {
    await using cluster = await startTestCluster({ blobNodes: 3 });
    for (let i = 0; i < 6; i++) {
      const { push, digest } = await session(cluster, randomBytes(5000));
      assert.deepEqual(await push(), [201, "2"]);
      assert.equal(await holdersOf(cluster, digest), 2);
      assert.equal(cluster.site.catalog.holders(digest).length, 2);
    }
    assert.deepEqual(
      cluster.site.nodes.map(({ sent }) => sent),
      [0, 0, 0],
    );
  });

  for (const victim of [0, 1, 2]) {
    test(`takes the whole body although node ${victim + 1} dies in the middle of it`, async () => {
      await using cluster = await startTestCluster({ blobNodes: 3 });
      const { push, digest } = await session(cluster, randomBytes(400_000));
      cluster.site.nodes[victim]!.dieAfterTaking = 100_000;
      // The third node takes the place of the lost copy.
      assert.deepEqual(await push(), [201, "2"]);
      assert.equal(await holdersOf(cluster, digest), 2);
    });
  }

  test("goes on with a session at the twin, and never believes a node that came back without some of the bytes", async () => {
    await using cluster = await startTestCluster({ blobNodes: 2 });
    const content = randomBytes(30_000);
    const { admin, location, digest } = await session(cluster, content);
    const patch = (start: number, end: number, ranged = false) =>
      admin.call("PATCH", location, {
        body: content.subarray(start, end),
        headers: ranged ? { "content-range": `${start}-${end - 1}` } : {},
      });
    assert.equal((await patch(0, 10_000)).headers.range, "0-9999");
    cluster.site.nodes[0]!.down = true;
    assert.equal((await patch(10_000, 20_000)).headers.range, "0-19999");
    cluster.site.nodes[0]!.down = false;
    assert.equal((await admin.call("GET", location)).headers.range, "0-19999");
    assert.equal((await patch(20_000, 25_000, true)).headers.range, "0-24999");
    assert.equal((await patch(25_000, 30_000)).headers.range, "0-29999");
    const pushed = await admin.call("PUT", `${location}?digest=${digest}`);
    assert.deepEqual([pushed.status, pushed.headers["meridian-copies"]], [201, "2"]);
    assert.equal(await holdersOf(cluster, digest), 2);
    assert.equal(cluster.site.nodes[1]!.sent, 30_000, "the node that lagged fetched its copy");
  });

  test("says wrong bytes are wrong, and an unreachable twin may be right", async () => {
    await using cluster = await startTestCluster({ blobNodes: 2 });
    const { admin, location, content } = await session(cluster, randomBytes(5000));
    assert.equal((await admin.call("PATCH", location, { body: content })).status, 202);
    const other = `${location}?digest=${digestOf("other")}`;
    assert.equal((await admin.call("PUT", other)).status, 400);
    cluster.site.nodes[0]!.down = true;
    assert.equal((await admin.call("PUT", other)).status, 503);
    const right = await admin.call("PUT", `${location}?digest=${digestOf(content)}`);
    assert.deepEqual([right.status, right.headers["meridian-copies"]], [201, "1"]);
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
