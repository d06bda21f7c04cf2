import assert from "node:assert/strict";
import { test } from "node:test";
import { type Digest, digestOf, isContentError } from "@meridian/oci";
import { type BlobStore, createMemoryBlobStore } from "@meridian/storage";
import { MAX_SMALL_BYTES, SmallPartial } from "./small-partial.ts";

function partialIn(store: BlobStore): SmallPartial {
  return new SmallPartial({
    store,
    openLarge: async () => (await store.resume("large")) ?? (await store.begin("large")),
  });
}

async function storedIn(store: BlobStore, digest: Digest): Promise<Buffer> {
  await using blob = (await store.open(digest))!;
  return readAll(blob, blob.size);
}

async function readAll(source: Pick<SmallPartial, "read">, end: number, start = 0): Promise<Buffer> {
  const parts: Buffer[] = [];
  await source.read({ start, end }, { write: (chunk) => void parts.push(Buffer.from(chunk)) });
  return Buffer.concat(parts);
}

test("a small blob arrives in memory and is stored in one step", async () => {
  await using store = createMemoryBlobStore();
  await using partial = partialIn(store);
  const chunk = Buffer.from("hello ");
  await partial.write(chunk);
  chunk.fill("x");
  await partial.write(Buffer.from("world"));
  assert.equal(partial.offset, 11);
  assert.equal((await readAll(partial, 9, 2)).toString(), "llo wor");
  await assert.rejects(readAll(partial, 12), (error) => isContentError(error, "invalid-range"));
  await assert.rejects(partial.commit(digestOf("other")), (error) => isContentError(error, "digest-mismatch"));
  assert.equal((await partial.commit(digestOf("hello world"))).size, 11);
  assert.equal((await storedIn(store, digestOf("hello world"))).toString(), "hello world");
  assert.equal(await store.resume("large"), undefined);
});

test("one that proves to be larger than was said goes on in an upload, whatever an earlier one left there", async () => {
  await using store = createMemoryBlobStore();
  const left = await store.begin("large");
  await left.write(Buffer.alloc(1000, 7));
  await left.sync();
  await left[Symbol.asyncDispose]();
  await using partial = partialIn(store);
  const content = Buffer.alloc(MAX_SMALL_BYTES + 1, "abc");
  for (let at = 0; at < content.length; at += 100_000) await partial.write(content.subarray(at, at + 100_000));
  assert.equal(partial.offset, content.length);
  assert.deepEqual(await readAll(partial, content.length), content);
  await partial.sync();
  await partial.commit(digestOf(content));
  assert.deepEqual(await storedIn(store, digestOf(content)), content);
});

test("nothing is left of one that was given up", async () => {
  await using store = createMemoryBlobStore();
  await using partial = partialIn(store);
  await partial.write(Buffer.from("abc"));
  await partial.cancel();
  assert.equal(partial.offset, 0);
  await partial.commit(digestOf(""));
  assert.equal((await storedIn(store, digestOf(""))).length, 0);
});
