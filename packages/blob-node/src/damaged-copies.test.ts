import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdir, mkdtemp, open, rm, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { digestHex, digestOf } from "@meridian/oci";
import type { DevPki } from "@meridian/pki";
import type { ServiceImpl } from "@meridian/rpc";
import { systemTimers } from "@meridian/runtime";
import type { BlobStore } from "@meridian/storage";
import { blobV1 } from "@meridian/wire";
import { Collected, createTestCertificates, createTestCluster, type TestCluster, until } from "./test-cluster.ts";

const content = randomBytes(3_000_000);
const digest = digestOf(content);
const holders = ["us/blob-node"];
const never = new AbortController().signal;

type Control = ServiceImpl<typeof blobV1.BlobNodeService>;

describe("a copy that is damaged on this node's disk", () => {
  let folder: string;
  let pki: DevPki;
  let cluster: TestCluster;

  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "meridian-damage-"));
    pki = await createTestCertificates(folder);
  });
  after(() => rm(folder, { recursive: true }));
  beforeEach(async () => {
    cluster = await createTestCluster(pki);
  });
  afterEach(() => cluster[Symbol.asyncDispose]());

  const path = (): string => {
    const hex = digestHex(digest);
    return join(cluster.root("eu"), "blobs", "sha256", hex.slice(0, 2), hex);
  };
  const flip = async (at: number): Promise<void> => {
    await using file = await open(path(), "r+");
    await file.write(Buffer.from([content[at]! ^ 1]), 0, 1, at);
  };
  const put = async (store: BlobStore): Promise<void> => void (await store.put(digest, content));

  /** eu with a store that has the blob, and its control service. */
  async function startEu() {
    let control: Control | undefined;
    const rpc = {
      register(service: unknown, implementation: unknown): void {
        if (service === blobV1.BlobNodeService) control = implementation as Control;
      },
    };
    const node = await cluster.start("eu", { deps: { rpc } });
    return { node, ask: control! };
  }

  const context = { signal: never } as Parameters<Control["lostBlobs"]>[1];
  const lostAt = async (ask: Control): Promise<string[]> =>
    (await ask.lostBlobs({ $typeName: "meridian.blob.v1.LostBlobsRequest" }, context)).digests ?? [];

  const damages: ReadonlyArray<[string, () => Promise<void>]> = [
    ["flipped in the middle", () => flip(1_500_000)],
    ["flipped at the end", () => flip(2_999_999)],
    ["truncated", () => truncate(path(), 1_000_000)],
    ["replaced by a folder", () => rm(path()).then(() => mkdir(path()))],
  ];
  for (const [name, damage] of damages) {
    it(`${name}: another holder's is sent within the same answer, and it is replaced here`, async () => {
      await using us = await cluster.start("us");
      await put(us.store);
      const eu = await startEu();
      await using _eu = eu.node;
      await put(eu.node.store);
      await damage();
      const sink = new Collected();
      await using blob = (await eu.node.node.bytes.open(digest, { holders, size: content.length }))!;
      assert.equal(blob.size, content.length);
      await blob.read({ start: 0, end: blob.size }, sink);
      assert.ok(sink.bytes().equals(content));
      assert.ok(
        eu.node.logged.some((line) => /damaged/.test(line)),
        "reported",
      );
      await until(() => eu.node.stored.includes(digest), "stored again");
      assert.deepEqual(await lostAt(eu.ask), []);
      const again = new Collected();
      await using local = (await eu.node.node.bytes.open(digest, { holders: [] }))!;
      await local.read({ start: 0, end: local.size }, again);
      assert.ok(again.bytes().equals(content));
      assert.equal(local.route, "local");
    });

    it(`${name}: without another holder nothing is sent, and the blob is told as lost, also after a restart`, async () => {
      {
        const eu = await startEu();
        await using _eu = eu.node;
        await put(eu.node.store);
        await damage();
        const sink = new Collected();
        await using blob = await eu.node.node.bytes.open(digest, { holders: [] });
        const size = blob?.size ?? 0;
        await blob?.read({ start: 0, end: size }, sink).catch(() => {});
        assert.equal(sink.length, 0);
        assert.deepEqual(await lostAt(eu.ask), [digest]);
      }
      const eu = await startEu();
      await using _eu = eu.node;
      const deadline = performance.now() + 5_000;
      while ((await lostAt(eu.ask)).length === 0) {
        assert.ok(performance.now() < deadline, "remembered");
        await systemTimers.sleep(5);
      }
      await put(eu.node.store);
    });
  }

  it("what records say is compared with the disk by size, and hashed only where that differs", async () => {
    const eu = await startEu();
    await using _eu = eu.node;
    await put(eu.node.store);
    const expect = async (blobs: { digest: string; size: bigint }[]): Promise<number> => {
      const typed = blobs.map((blob) => ({ $typeName: "meridian.blob.v1.ExpectedBlob" as const, ...blob }));
      return (await eu.ask.expect({ $typeName: "meridian.blob.v1.ExpectRequest", blobs: typed }, context)).lost ?? 0;
    };
    assert.equal(await expect([{ digest, size: 3_000_000n }]), 0);
    assert.equal(await expect([{ digest, size: 5n }]), 0, "a manifest may state the size wrongly");
    assert.equal(await expect([{ digest: digestOf("never here"), size: 5n }]), 1);
    await truncate(path(), 1_000_000);
    assert.equal(await expect([{ digest, size: 3_000_000n }]), 1);
    assert.deepEqual((await lostAt(eu.ask)).sort(), [digest, digestOf("never here")].sort());
  });
});
