import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { digestOf } from "@meridian/oci";
import type { DevPki } from "@meridian/pki";
import { createRpcServer } from "@meridian/rpc";
import { createLogger } from "@meridian/runtime";
import { blobV1, nodeV1 } from "@meridian/wire";
import { Collected, createTestCertificates, createTestCluster, type TestNode } from "./test-cluster.ts";

const log = createLogger({ level: "error", write: () => {} });

async function put({ store }: TestNode, content: Uint8Array) {
  return (await store.put(digestOf(content), content)).digest;
}

async function* once(content: Uint8Array): AsyncGenerator<Uint8Array> {
  yield content;
}

describe("a blob node's standing in its site", () => {
  let dir: string;
  let pki: DevPki;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), "meridian-node-service-"));
    pki = await createTestCertificates(dir);
  });
  after(() => rm(dir, { recursive: true }));

  it("says which blobs it holds, and lists them in pages by digest", async () => {
    await using cluster = await createTestCluster(pki);
    await using rpc = createRpcServer({ log });
    await using eu = await cluster.start("eu", { deps: { rpc } });
    const node = rpc.local(nodeV1.NodeService)!;
    const held: string[] = [];
    for (let i = 0; i < 7; i++) held.push(await put(eu, Buffer.from(`blob ${i}`)));
    const absent = digestOf("absent");
    assert.deepEqual((await node.holds({ digests: [held[3]!, absent, held[0]!] })).held, [true, false, true]);
    const paged: string[] = [];
    for (let after = ""; ; ) {
      const { blobs } = await node.list({ after, limit: 3 });
      paged.push(...blobs.map(({ digest }) => digest));
      if (blobs.length < 3) break;
      after = blobs.at(-1)!.digest;
    }
    assert.deepEqual(paged, held.toSorted());
    await assert.rejects(node.holds({ digests: Array.from({ length: 1_001 }, () => absent) }), { kind: "invalid" });
    await assert.rejects(node.holds({ digests: ["../x"] }));
  });

  it("denies blobs that it was told to drain and removes them, but for those that were stored anew or are to be kept", async () => {
    await using cluster = await createTestCluster(pki);
    await using rpc = createRpcServer({ log });
    await using eu = await cluster.start("eu", { deps: { rpc } });
    const [node, control] = [rpc.local(nodeV1.NodeService)!, rpc.local(blobV1.BlobNodeService)!];
    const contents = ["goes", "comes again", "is kept"].map((text) => Buffer.from(text));
    const digests: string[] = [];
    for (const content of contents) digests.push(await put(eu, content));
    await node.drainBlobs({ digests });
    assert.deepEqual((await node.holds({ digests })).held, [false, false, false]);
    assert.equal((await control.stat({ digest: digests[1]! })).present, false);
    await control.put({ digest: digests[1]!, content: contents[1]! });
    await node.keepBlobs({ digests: [digests[2]!] });
    const { REMOVED, KEPT } = nodeV1.Removal;
    assert.deepEqual((await node.removeDrained({ digests })).removals, [REMOVED, KEPT, KEPT]);
    assert.deepEqual((await node.holds({ digests })).held, [false, true, true]);
    assert.equal((await node.list({ limit: 10 })).blobs.length, 2);
  });

  it("takes no new bytes while it is drained, also after a restart; what it has is served and what had begun is finished", async () => {
    await using cluster = await createTestCluster(pki);
    const stateFile = join(dir, "node.json");
    const content = randomBytes(50_000);
    const digest = digestOf(content);
    {
      await using rpc = createRpcServer({ log });
      await using eu = await cluster.start("eu", { deps: { rpc, stateFile } });
      const [node, control] = [rpc.local(nodeV1.NodeService)!, rpc.local(blobV1.BlobNodeService)!];
      await put(eu, content);
      await control.beginUpload({ uploadId: "begun" });
      await node.setDraining({ draining: true });
      const state = await node.state({});
      assert.deepEqual([state.draining, state.drainBlobs, state.drainBytes], [true, 1n, 50_000n]);
      await eu.remote.append("begun", once(Buffer.from("late")), {});
      await control.commitUpload({ uploadId: "begun", digest: digestOf("late") });
    }
    await using rpc = createRpcServer({ log });
    await using eu = await cluster.start("eu", { deps: { rpc, stateFile } });
    const [node, control] = [rpc.local(nodeV1.NodeService)!, rpc.local(blobV1.BlobNodeService)!];
    assert.equal((await node.state({})).draining, true);
    const refused = { kind: "unavailable", message: /drained/ };
    await assert.rejects(control.beginUpload({ uploadId: "new" }), refused);
    await assert.rejects(control.put({ digest: digestOf("x"), content: Buffer.from("x") }), refused);
    await assert.rejects(control.fetch({ digest: digestOf("y"), holders: ["us/blob-node"] }), refused);
    const sink = new Collected();
    await using blob = await eu.remote.open(digest, { holders: [] });
    await blob!.read({ start: 0, end: blob!.size }, sink);
    assert.ok(sink.bytes().equals(content));
    await node.setDraining({ draining: false });
    await control.put({ digest: digestOf("x"), content: Buffer.from("x") });
  });

  it("fetches nothing for a pull while it is drained", async () => {
    await using cluster = await createTestCluster(pki);
    await using us = await cluster.start("us");
    const content = randomBytes(300_000);
    const digest = await put(us, content);
    await using rpc = createRpcServer({ log });
    await using eu = await cluster.start("eu", { deps: { rpc } });
    await rpc.local(nodeV1.NodeService)!.setDraining({ draining: true });
    assert.equal(await eu.remote.open(digest, { holders: ["us/blob-node"] }), undefined);
    await rpc.local(nodeV1.NodeService)!.setDraining({ draining: false });
    await using _blob = await eu.remote.open(digest, { holders: ["us/blob-node"] });
    assert.equal(_blob?.size, content.byteLength);
  });

  it("does not start on a state file that it cannot read, and says which", async () => {
    await using cluster = await createTestCluster(pki);
    const stateFile = join(dir, "broken.json");
    await writeFile(stateFile, '{"format":1,"draining":"perhaps"}');
    await assert.rejects(
      cluster.start("eu", { deps: { stateFile } }),
      /broken\.json .* cannot be read: mend it, or remove it/,
    );
    assert.match(await readFile(stateFile, "utf8"), /perhaps/);
  });
});
