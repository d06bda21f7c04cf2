import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { type Digest, digestOf } from "@meridian/oci";
import type { DevPki } from "@meridian/pki";
import type { BlobStore } from "@meridian/storage";
import { createTestCertificates, createTestCluster, type TestCluster, type TestNode } from "./test-cluster.ts";

const MIB = 1024 * 1024;
const content = randomBytes(40 * MIB);
const digest = digestOf(content);

async function put(store: BlobStore, bytes: Uint8Array = content): Promise<Digest> {
  await using upload = await store.begin(`put-${randomBytes(8).toString("hex")}`);
  await upload.write(bytes);
  return (await upload.commit(digestOf(bytes))).digest;
}

/** Reads it at a node that fetches it from eu on the way; rejects when the link breaks. */
async function pull({ node }: TestNode, holders = ["eu/blob-node"]): Promise<Buffer> {
  const chunks: Buffer[] = [];
  await using blob = await node.bytes.open(digest, { holders, size: content.length });
  assert.ok(blob);
  await blob.read({ start: 0, end: blob.size }, { write: (chunk) => void chunks.push(Buffer.from(chunk)) });
  return Buffer.concat(chunks);
}

let dir: string;
let pki: DevPki;
let cluster: TestCluster;
before(async () => {
  dir = await mkdtemp(join(tmpdir(), "meridian-long-link-"));
  pki = await createTestCertificates(dir);
});
after(() => rm(dir, { recursive: true }));
beforeEach(async () => {
  cluster = await createTestCluster(pki);
});
afterEach(() => cluster[Symbol.asyncDispose]());

describe("a large blob of another site", () => {
  it("loses at most 8 MiB at each cut of the link", async () => {
    await using eu = await cluster.start("eu");
    await put(eu.store);
    await using us = await cluster.start("us");
    const link = await cluster.link("us", "eu");
    for (const cutAfter of [9 * MIB, 11 * MIB, 7 * MIB]) {
      link.cutAfter(cutAfter);
      await assert.rejects(pull(us), { kind: "unavailable" });
      link.resume();
    }
    assert.ok((await pull(us)).equals(content));
    const twice = link.bytes - content.length;
    assert.ok(twice <= 24 * MIB, `${twice} bytes crossed twice`);
  });

  it("does not ask a second holder for what the first has sent ahead", async () => {
    await using eu = await cluster.start("eu");
    await using ap = await cluster.start("ap");
    await put(eu.store);
    await put(ap.store);
    await using us = await cluster.start("us");
    const [fromEu, fromAp] = [await cluster.link("us", "eu"), await cluster.link("us", "ap")];
    fromEu.cutAfter(20 * MIB);
    assert.ok((await pull(us, ["eu/blob-node", "ap/blob-node"])).equals(content));
    const twice = fromEu.bytes + fromAp.bytes - content.length;
    assert.ok(twice <= 8 * MIB, `${twice} bytes crossed twice`);
    assert.ok(fromAp.bytes > 10 * MIB, "ap was hardly asked");
  });

  it("goes on after a restart of the fetching node with at most 16 MiB again", async () => {
    await using eu = await cluster.start("eu");
    await put(eu.store);
    const first = await cluster.start("us");
    const link = await cluster.link("us", "eu");
    link.cutAfter(30 * MIB);
    await assert.rejects(pull(first), { kind: "unavailable" });
    await first[Symbol.asyncDispose]();
    link.resume();
    const before = link.bytes;
    await using second = await cluster.start("us");
    assert.ok((await pull(second)).equals(content));
    assert.ok(link.bytes - before <= 26 * MIB, `${link.bytes - before} bytes crossed after the restart`);
  });
});
