import assert from "node:assert/strict";
import { test } from "node:test";
import { digestOf } from "@meridian/oci";
import type { BlobStore } from "./blob-store.ts";
import { blobStoreContract } from "./contract.ts";
import { collect, pattern, put } from "./contract-content.ts";
import { filesystemFixture } from "./filesystem-fixture.ts";
import { createMemoryBlobStore } from "./memory-store.ts";
import { withSmallBlobCache } from "./small-blob-cache.ts";

blobStoreContract(
  "cached filesystem",
  () => filesystemFixture((store) => withSmallBlobCache(store, { maxBytes: 1_000_000 })),
  { survivesReopen: true, knowsFreeBytes: true },
);

/** A store that counts how often it is opened, and waits before it answers when told to. */
function watched(): { store: BlobStore; opened: () => number; hold: () => () => void } {
  const inner = createMemoryBlobStore();
  let opened = 0;
  let gate = Promise.resolve();
  const store: BlobStore = {
    ...inner,
    async open(digest) {
      opened++;
      const blob = await inner.open(digest);
      await gate;
      return blob === undefined
        ? undefined
        : { ...blob, bytes: undefined, [Symbol.asyncDispose]: async () => undefined };
    },
  };
  const hold = (): (() => void) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    gate = promise;
    return resolve;
  };
  return { store, opened: () => opened, hold };
}

test("reads a small blob once, for many at once too, and a large one each time", async () => {
  const { store, opened } = watched();
  await using cached = withSmallBlobCache(store, { maxBlobBytes: 100, maxBytes: 1000 });
  const small = await put(cached, "s", pattern(100));
  const large = await put(cached, "l", pattern(101));
  assert.equal(cached.cached(small), undefined);
  const blobs = await Promise.all(Array.from({ length: 5 }, () => cached.open(small)));
  for (const blob of blobs) assert.deepEqual(await collect(blob!), pattern(100));
  assert.equal(opened(), 1);
  assert.deepEqual(Buffer.from(cached.cached(small)!), pattern(100));
  await Promise.all(Array.from({ length: 3 }, () => cached.open(large)));
  assert.equal(opened(), 4);
  assert.equal(cached.cached(large), undefined);
});

test("keeps what was used last, within its bound", async () => {
  const { store, opened } = watched();
  await using cached = withSmallBlobCache(store, { maxBytes: 300 });
  const [a, b, c] = await Promise.all([1, 2, 3].map((seed) => put(cached, `u${seed}`, pattern(120, seed))));
  await cached.open(a!);
  await cached.open(b!);
  await cached.open(a!);
  await cached.open(c!);
  assert.deepEqual(
    [a, b, c].map((digest) => cached.cached(digest!) !== undefined),
    [true, false, true],
  );
  assert.equal(opened(), 3);
});

test("a blob deleted while it is being read into memory is not kept", async () => {
  const { store, hold } = watched();
  await using cached = withSmallBlobCache(store, { maxBytes: 1000 });
  const digest = await put(cached, "u", pattern(10));
  const release = hold();
  const opening = cached.open(digest);
  assert.equal(await cached.delete(digest), true);
  release();
  assert.deepEqual(await collect((await opening)!), pattern(10));
  assert.equal(cached.cached(digest), undefined);
  assert.equal(await cached.open(digest), undefined);
  assert.equal(await cached.stat(digestOf(pattern(10))), undefined);
});

test("keeps what is stored in one step, unless it is deleted meanwhile", async () => {
  const { store, opened } = watched();
  const { promise: held, resolve: release } = Promise.withResolvers<void>();
  let gate: Promise<void> | undefined;
  const slow: BlobStore = {
    ...store,
    async put(digest, content) {
      const info = await store.put(digest, content);
      await gate;
      return info;
    },
  };
  await using cached = withSmallBlobCache(slow, { maxBlobBytes: 100, maxBytes: 1000 });
  const content = pattern(50);
  await cached.put(digestOf(content), content);
  content.fill(0);
  assert.deepEqual(await collect((await cached.open(digestOf(pattern(50))))!), pattern(50));
  assert.equal(opened(), 0);
  await cached.put(digestOf(pattern(101)), pattern(101));
  assert.equal(cached.cached(digestOf(pattern(101))), undefined);
  gate = held;
  const putting = cached.put(digestOf(pattern(10)), pattern(10));
  await cached.delete(digestOf(pattern(10)));
  release();
  await putting;
  assert.equal(cached.cached(digestOf(pattern(10))), undefined);
});

test("what is in memory and no longer stored is not said to be stored", async () => {
  const { store } = watched();
  await using cached = withSmallBlobCache(store, { maxBlobBytes: 100, maxBytes: 1000 });
  const digest = await put(cached, "s", pattern(100));
  await using _read = await cached.open(digest);
  assert.equal((await cached.stat(digest))?.size, 100);
  await store.delete(digest);
  assert.equal(await cached.stat(digest), undefined);
  assert.equal(cached.cached(digest), undefined);
});
