import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Digest, digestOf } from "@meridian/oci";
import type { BlobStore } from "./blob-store.ts";
import { collect, pattern, put, rejects } from "./contract-content.ts";
import { drainingContract } from "./draining-contract.ts";
import { uploadContract } from "./upload-contract.ts";
import { restartContract, writerContract } from "./writer-contract.ts";

/** An empty store of the driver under test. */
export interface BlobStoreFixture extends AsyncDisposable {
  readonly store: BlobStore;
  /** Closes the store and opens it again, as a restart of the process does. */
  reopen?(): Promise<BlobStore>;
}

/** What a driver can do beyond the rest. */
export interface BlobStoreCapabilities {
  /** Blobs and synced uploads are there again after {@link BlobStoreFixture.reopen}. */
  readonly survivesReopen: boolean;
  /** {@link BlobStore.usage} knows how much is free. */
  readonly knowsFreeBytes: boolean;
}

/** What every {@link BlobStore} must do. */
export function blobStoreContract(
  name: string,
  make: () => Promise<BlobStoreFixture>,
  capabilities: BlobStoreCapabilities,
): void {
  describe(`blob store: ${name}`, () => {
    const on = (title: string, body: (store: BlobStore, fixture: BlobStoreFixture) => Promise<void>): void => {
      test(title, async () => {
        await using fixture = await make();
        await body(fixture.store, fixture);
      });
    };
    describe("blobs", () => readingContract(on, capabilities));
    describe("uploads", () => uploadContract(on));
    describe("writers", () => writerContract(on));
    describe("removal in two steps", () => drainingContract(on));
    if (capabilities.survivesReopen) describe("restarts", () => restartContract(on));
  });
}

/** Registers a test with a store of its own. */
export type On = (title: string, body: (store: BlobStore, fixture: BlobStoreFixture) => Promise<void>) => void;

function readingContract(on: On, capabilities: BlobStoreCapabilities): void {
  on("knows nothing of an absent blob", async (store) => {
    const digest = digestOf("absent");
    assert.equal(await store.stat(digest), undefined);
    assert.equal(await store.open(digest), undefined);
    assert.equal(await store.delete(digest), false);
    assert.deepEqual(await Array.fromAsync(store.list()), []);
  });

  on("lists from any place on", async (store) => {
    const contents = Array.from({ length: 40 }, (_, index) => pattern(10 + index, index));
    const digests = contents.map((content, index) => digestOf(content, index % 2 === 0 ? "sha256" : "sha512"));
    for (const [index, content] of contents.entries()) await store.put(digests[index]!, content);
    digests.sort();
    for (const at of [0, 7, 19, 20, 38, 39]) {
      const listed = await Array.fromAsync(store.list({ after: digests[at] }), ({ digest }) => digest);
      assert.deepEqual(listed, digests.slice(at + 1));
    }
  });

  for (const algorithm of ["sha256", "sha512"] as const) {
    on(`gives back what was stored, by ${algorithm}`, async (store) => {
      for (const size of [0, 1, 100, 262_143, 262_144, 262_145, 1_000_000]) {
        const content = pattern(size);
        const digest = await put(store, `${algorithm}-${size}`, content, digestOf(content, algorithm));
        assert.deepEqual(await store.stat(digest), { digest, size });
        await using blob = (await store.open(digest))!;
        assert.equal(blob.size, size);
        assert.deepEqual(await collect(blob), content);
        if (blob.bytes !== undefined) assert.deepEqual(Buffer.from(blob.bytes), content);
      }
    });
  }

  on("stores in one step what is in memory, also over what is there", async (store) => {
    for (const algorithm of ["sha256", "sha512"] as const) {
      for (const size of [0, 1, 5_000, 1_000_000]) {
        const content = pattern(size);
        const digest = digestOf(content, algorithm);
        for (let times = 0; times < 2; times++) assert.deepEqual(await store.put(digest, content), { digest, size });
        await using blob = (await store.open(digest))!;
        assert.deepEqual(await collect(blob), content);
      }
    }
    assert.equal((await store.usage()).blobs, 8);
  });

  on("stores nothing in one step that hashes to something else", async (store) => {
    await rejects(store.put(digestOf("other"), pattern(10)), "digest-mismatch");
    assert.deepEqual(await Array.fromAsync(store.list()), []);
  });

  on("stores the same content many times at once", async (store) => {
    const content = pattern(10_000);
    const digest = digestOf(content);
    await Promise.all(Array.from({ length: 20 }, () => store.put(digest, content)));
    assert.equal((await store.usage()).blobs, 1);
  });

  on("reads spans, and refuses those outside", async (store) => {
    const content = pattern(700_000);
    await using blob = (await store.open(await put(store, "a", content)))!;
    const spans = [
      { start: 0, end: 0 },
      { start: 0, end: 1 },
      { start: 300_000, end: 600_001 },
      { start: 699_999, end: 700_000 },
      { start: 700_000, end: 700_000 },
    ];
    for (const span of spans) assert.deepEqual(await collect(blob, span), content.subarray(span.start, span.end));
    const outside = [
      { start: 0, end: 700_001 },
      { start: 5, end: 4 },
      { start: -1, end: 4 },
      { start: 0.5, end: 4 },
      { start: Number.NaN, end: 4 },
    ];
    for (const span of outside) await rejects(collect(blob, span), "invalid-range");
  });

  on("gives the sink one chunk at a time, however slow it is", async (store) => {
    const content = pattern(3_000_000);
    await using blob = (await store.open(await put(store, "a", content)))!;
    const readers = Array.from({ length: 20 }, async () => {
      const parts: Buffer[] = [];
      let busy = 0;
      const sink = {
        async write(chunk: Uint8Array): Promise<void> {
          assert.equal(++busy, 1, "one at a time");
          assert.ok(chunk.byteLength <= 1_048_576, "in pieces");
          const before = Buffer.from(chunk);
          await new Promise((resolve) => setImmediate(resolve));
          assert.deepEqual(Buffer.from(chunk), before, "the chunk is the sink's until its promise settles");
          parts.push(before);
          busy--;
        },
      };
      await blob.read({ start: 0, end: blob.size }, sink);
      assert.deepEqual(Buffer.concat(parts), content);
    });
    await Promise.all(readers);
  });

  on("stops when the sink fails, with the sink's error", async (store) => {
    await using blob = (await store.open(await put(store, "a", pattern(2_000_000))))!;
    const error = new Error("client has gone");
    let writes = 0;
    const sink = {
      write(): Promise<void> {
        writes++;
        return Promise.reject(error);
      },
    };
    await assert.rejects(blob.read({ start: 0, end: blob.size }, sink), (caught) => caught === error);
    assert.equal(writes, 1);
    assert.equal((await collect(blob)).length, 2_000_000);
  });

  on("stops when the signal aborts, also while the sink holds a chunk", async (store) => {
    await using blob = (await store.open(await put(store, "a", pattern(2_000_000))))!;
    const controller = new AbortController();
    const held = Promise.withResolvers<void>();
    const sink = {
      write(): Promise<void> {
        queueMicrotask(() => controller.abort(new Error("enough")));
        return held.promise;
      },
    };
    await assert.rejects(blob.read({ start: 0, end: blob.size }, sink, { signal: controller.signal }), /enough/);
    held.resolve();
    await assert.rejects(
      blob.read({ start: 0, end: 1 }, { write() {} }, { signal: AbortSignal.abort(new Error("before")) }),
      /before/,
    );
  });

  on("lets readers finish a blob that is deleted meanwhile", async (store) => {
    const content = pattern(1_500_000);
    const digest = await put(store, "a", content);
    await using blob = (await store.open(digest))!;
    const first = Promise.withResolvers<void>();
    const goOn = Promise.withResolvers<void>();
    const parts: Buffer[] = [];
    const reading = blob.read(
      { start: 0, end: blob.size },
      {
        async write(chunk) {
          parts.push(Buffer.from(chunk));
          first.resolve();
          await goOn.promise;
        },
      },
    );
    await first.promise;
    assert.equal(await store.delete(digest), true);
    assert.equal(await store.delete(digest), false);
    assert.equal(await store.stat(digest), undefined);
    assert.equal(await store.open(digest), undefined);
    goOn.resolve();
    await reading;
    assert.deepEqual(Buffer.concat(parts), content);
    assert.deepEqual(await collect(blob), content);
  });

  on("lists blobs in digest order and counts them", async (store) => {
    const digests: Digest[] = [];
    await store.usage();
    for (let i = 0; i < 40; i++)
      digests.push(await put(store, `u${i}`, pattern(i), digestOf(pattern(i), i % 4 ? "sha256" : "sha512")));
    await put(store, "again", pattern(39));
    digests.sort();
    const listed = await Array.fromAsync(store.list());
    assert.deepEqual(
      listed.map(({ digest }) => digest),
      digests,
    );
    const usage = await store.usage();
    assert.equal(usage.blobs, 40);
    assert.equal(usage.bytes, (39 * 40) / 2);
    assert.equal(Number.isFinite(usage.freeBytes), capabilities.knowsFreeBytes);
    assert.ok(usage.freeBytes > 0);
    await store.delete(digestOf(pattern(39)));
    assert.deepEqual([(await store.usage()).blobs, (await store.usage()).bytes], [39, (38 * 39) / 2]);
  });

  on("is well", async (store) => {
    await store.probe();
    await store.probe(AbortSignal.timeout(10_000));
    assert.deepEqual(await Array.fromAsync(store.list()), []);
    await assert.rejects(store.probe(AbortSignal.abort(new Error("too late"))), /too late/);
  });
}
