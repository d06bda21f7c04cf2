import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, test } from "node:test";
import { digestOf } from "@meridian/oci";
import { systemTimers } from "@meridian/runtime";
import { adminOf, ask } from "./http-client.fixture.ts";
import { bearer, startTestCluster, type TestCluster } from "./test-cluster.fixture.ts";

const NODES = "/v2/_meridian/nodes";
const ADMIN = bearer("admin");

async function put(cluster: TestCluster, node: string, state: unknown, headers = ADMIN) {
  return await ask(cluster.site.gateway.url, "PUT", `${NODES}/${node}`, { headers, body: JSON.stringify({ state }) });
}

async function list(cluster: TestCluster, site: string) {
  const answer = await ask(cluster.site.gateway.url, "GET", `${NODES}/${site}`, { headers: ADMIN });
  assert.equal(answer.status, 200, answer.body.toString());
  return JSON.parse(answer.body.toString()) as {
    copies: number;
    nodes: Array<Record<string, unknown>>;
    settling: unknown;
  };
}

describe("blob nodes of a site over HTTP", () => {
  test("are listed with what they hold, at any site, through any site's gateway", async () => {
    await using cluster = await startTestCluster({ sites: ["eu", "us"], blobNodes: 2 });
    const content = randomBytes(500);
    await adminOf(cluster.site, "team/app").call("POST", `/blobs/uploads/?digest=${digestOf(content)}`, {
      body: content,
    });
    const { copies, nodes } = await list(cluster, "eu");
    assert.equal(copies, 2);
    assert.deepEqual(
      nodes.map(({ node, state, blobs, bytes }) => [node, state, blobs, bytes]),
      [
        ["eu/blob-node-1", "active", 1, 500],
        ["eu/blob-node-2", "active", 1, 500],
      ],
    );
    assert.deepEqual(
      (await list(cluster, "us")).nodes.map(({ node, blobs }) => [node, blobs]),
      [
        ["us/blob-node-1", 0],
        ["us/blob-node-2", 0],
      ],
    );
    cluster.site.nodes[0]!.down = true;
    const [away] = (await list(cluster, "eu")).nodes;
    assert.deepEqual([away?.state, away?.blobs], ["away", null]);
  });

  test("are drained and taken back; a drained one gets nothing of a push", async () => {
    await using cluster = await startTestCluster({ blobNodes: 3 });
    const drained = await put(cluster, "eu/blob-node-2", "draining");
    assert.equal(drained.status, 200, drained.body.toString());
    const admin = adminOf(cluster.site, "team/app");
    for (let i = 0; i < 5; i++) {
      const content = randomBytes(100);
      const pushed = await admin.call("POST", `/blobs/uploads/?digest=${digestOf(content)}`, { body: content });
      assert.deepEqual([pushed.status, pushed.headers["meridian-copies"]], [201, "2"]);
      assert.equal(await cluster.site.nodes[1]!.store.stat(digestOf(content)), undefined);
    }
    assert.equal((await put(cluster, "eu/blob-node-2", "active")).status, 200);
    assert.equal(cluster.site.nodes[1]!.draining, false);
  });

  test("are not drained by anybody but an administrator, nor when none is left, nor when there is none of the name", async () => {
    await using cluster = await startTestCluster({ blobNodes: 2 });
    assert.equal((await put(cluster, "eu/blob-node-1", "draining", bearer("ann"))).status, 403);
    assert.equal((await ask(cluster.site.gateway.url, "GET", `${NODES}/eu`, {})).status, 401);
    const wrong = await put(cluster, "eu/blob-node-1", "gone");
    assert.equal(wrong.status, 400, wrong.body.toString());
    const unknown = await put(cluster, "eu/blob-node-7", "active");
    assert.equal(unknown.status, 404);
    assert.match(unknown.body.toString(), /Add it to topology\.processes/);
    assert.match(
      (await put(cluster, "eu/gateway-1", "draining")).body.toString(),
      /there is no blob node eu\/gateway-1/,
    );
    assert.equal((await put(cluster, "xx/blob-node-1", "active")).status, 404);
    cluster.site.nodes[1]!.down = true;
    const deadline = performance.now() + 10_000;
    // The gateway notices by itself.
    for (let last = 0; last !== 409; ) {
      assert.ok(performance.now() < deadline, `still ${last}`);
      await systemTimers.sleep(100);
      last = (await put(cluster, "eu/blob-node-1", "draining")).status;
      if (last === 200) await put(cluster, "eu/blob-node-1", "active");
    }
    assert.equal(cluster.site.nodes[0]!.draining, false);
  });
});
