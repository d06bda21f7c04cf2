import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { ContentError, digestOf } from "@meridian/oci";
import type { DevPki } from "@meridian/pki";
import { createRpcServer } from "@meridian/rpc";
import { createLogger } from "@meridian/runtime";
import { createMemoryBlobStore } from "@meridian/storage";
import { blobV1 } from "@meridian/wire";
import { createStorageCheck } from "./storage-check.ts";
import { Collected, createTestCertificates, createTestCluster, until } from "./test-cluster.ts";

const content = randomBytes(2_000_000);
const digest = digestOf(content);
const log = createLogger({ level: "error", write: () => {} });

async function* body(): AsyncGenerator<Uint8Array> {
  yield content;
}

describe("a blob node", () => {
  let dir: string;
  let pki: DevPki;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), "meridian-blob-node-"));
    pki = await createTestCertificates(dir);
  });
  after(() => rm(dir, { recursive: true }));

  it("takes an upload over HTTPS, commits it by its control service, and serves it", async () => {
    await using cluster = await createTestCluster(pki);
    await using rpc = createRpcServer({ log });
    await using eu = await cluster.start("eu", { deps: { rpc } });
    const control = rpc.local(blobV1.BlobNodeService)!;
    await control.beginUpload({ uploadId: "u1" });
    assert.deepEqual(await eu.remote.append("u1", body(), {}), { offset: content.length });
    assert.equal((await control.uploadStatus({ uploadId: "u1" })).offset, BigInt(content.length));
    const { size } = await control.commitUpload({ uploadId: "u1", digest });
    assert.equal(size, BigInt(content.length));
    assert.deepEqual(eu.stored, [digest]);

    const sink = new Collected();
    await using blob = await eu.remote.open(digest, { holders: [] });
    await blob!.read({ start: 0, end: blob!.size }, sink);
    assert.ok(sink.bytes().equals(content));
    const { present } = await control.stat({ digest });
    assert.equal(present, true);
    const status = await control.status({});
    assert.deepEqual([status.node, status.blobs, status.bytes], ["eu/blob-node", 1n, size]);
    assert.deepEqual(await control.delete({ digest }).then(({ deleted }) => deleted), true);
    assert.equal((await control.stat({ digest })).present, false);
    await assert.rejects(control.beginUpload({ uploadId: "u2", algorithm: "md5" }), { kind: "invalid" });
  });

  it("fetches when told to, once for all who tell it, and shows the transfer meanwhile", async () => {
    await using cluster = await createTestCluster(pki);
    await using eu = await cluster.start("eu");
    await using upload = await eu.store.begin("put");
    await upload.write(content);
    await upload.commit(digest);
    await using rpc = createRpcServer({ log });
    await using us = await cluster.start("us", { deps: { rpc } });
    const control = rpc.local(blobV1.BlobNodeService)!;
    const link = await cluster.link("us", "eu");
    link.stopAfter(1_000_000);
    const request = { digest, size: BigInt(content.length), holders: ["eu/blob-node"] };
    const background = control.fetch({ ...request, priority: blobV1.FetchPriority.BACKGROUND });
    const pull = control.fetch({ ...request, priority: blobV1.FetchPriority.PULL });
    await link.stopped;
    let seen: blobV1.Transfer | undefined;
    await until(() => {
      void control.status({}).then(({ transfers }) => {
        seen = transfers[0] ?? seen;
      });
      return (seen?.received ?? 0n) > 900_000n;
    }, "the transfer shows its progress");
    assert.deepEqual([seen?.digest, seen?.size, seen?.holder], [digest, BigInt(content.length), "eu/blob-node"]);
    link.cut();
    link.resume();
    const moved = (await Promise.all([background, pull])).map(({ fetchedBytes }) => fetchedBytes);
    assert.deepEqual(moved, [BigInt(content.length), 0n]);
    assert.equal((await control.fetch(request)).fetchedBytes, 0n);
    assert.deepEqual(us.stored, [digest]);
    const absent = { digest: digestOf("absent"), holders: ["eu/blob-node"] };
    await assert.rejects(control.fetch(absent), { kind: "not-found" });
    await assert.rejects(control.fetch({ ...absent, holders: [] }), { kind: "unavailable" });
  });

  it("takes uploads only from its own site", async () => {
    await using cluster = await createTestCluster(pki);
    await using eu = await cluster.start("eu");
    await using us = await cluster.start("us");
    const abroad = us.nodes.bytesOf("eu/blob-node")!;
    await assert.rejects(abroad.append("u1", body(), {}), { kind: "denied" });
    await assert.rejects(eu.remote.append("u1", body(), {}), { kind: "not-found" });
  });

  it("says in its check whether the store works, asking it once for many askers", async () => {
    let probes = 0;
    let now = 0;
    let failure: ContentError | undefined;
    const store = {
      ...createMemoryBlobStore(),
      probe: async () => {
        probes++;
        if (failure) throw failure;
      },
    };
    const check = createStorageCheck(store, { now: () => now, monotonic: () => now });
    const { signal } = new AbortController();
    await Promise.all([check.check(signal), check.check(signal)]);
    assert.equal(probes, 1);
    failure = new ContentError("no-space", "the disk is full");
    now += 6_000;
    await assert.rejects(check.check(signal), failure);
    await assert.rejects(check.check(AbortSignal.abort(new Error("deadline"))), { message: "deadline" });
    assert.equal(probes, 2);
  });
});
