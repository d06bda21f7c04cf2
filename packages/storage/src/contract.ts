import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type ContentErrorKind, type Digest, digestOf, isContentError } from "@meridian/oci";
import type { BlobStore, ByteSpan, OpenBlob, Upload } from "./blob-store.ts";

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
    if (capabilities.survivesReopen) describe("restarts", () => restartContract(on));
  });
}

type On = (title: string, body: (store: BlobStore, fixture: BlobStoreFixture) => Promise<void>) => void;

function readingContract(on: On, capabilities: BlobStoreCapabilities): void {
  on("knows nothing of an absent blob", async (store) => {
    const digest = digestOf("absent");
    assert.equal(await store.stat(digest), undefined);
    assert.equal(await store.open(digest), undefined);
    assert.equal(await store.delete(digest), false);
    assert.deepEqual(await Array.fromAsync(store.list()), []);
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

function uploadContract(on: On): void {
  on("shows nothing before the commit", async (store) => {
    const content = pattern(5000);
    await using upload = await store.begin("u");
    await upload.write(content);
    await upload.sync();
    assert.equal(upload.offset, 5000);
    assert.equal(await store.stat(digestOf(content)), undefined);
    assert.deepEqual(await Array.fromAsync(store.list()), []);
    assert.deepEqual(await upload.commit(digestOf(content)), { digest: digestOf(content), size: 5000 });
    assert.equal((await store.stat(digestOf(content)))?.size, 5000);
  });

  on("takes chunks of any size, whose memory is the caller's again afterwards", async (store) => {
    const content = pattern(1_700_000);
    await using upload = await store.begin("u");
    const sizes = [1, 7, 100_000, 65_536, 300_000, 524_288, 0, 3];
    for (let at = 0, i = 0; at < content.length; i++) {
      const chunk = Buffer.from(content.subarray(at, at + sizes[i % sizes.length]!));
      await upload.write(chunk);
      at += chunk.length;
      chunk.fill(0xff);
    }
    const digest = digestOf(content);
    await upload.commit(digest);
    await using blob = (await store.open(digest))!;
    assert.deepEqual(await collect(blob), content);
  });

  on("a wrong digest leaves the upload as it was", async (store) => {
    const content = pattern(1000);
    await using upload = await store.begin("u");
    await upload.write(content.subarray(0, 600));
    for (const wrong of [digestOf("wrong"), digestOf("wrong", "sha512")])
      await rejects(upload.commit(wrong), "digest-mismatch");
    assert.equal(await store.stat(digestOf("wrong")), undefined);
    assert.equal(upload.offset, 600);
    await upload.write(content.subarray(600));
    await upload.commit(digestOf(content));
    assert.equal((await store.stat(digestOf(content)))?.size, 1000);
  });

  on("commits by the other algorithm than it was begun with", async (store) => {
    const content = pattern(400_000);
    const digest = digestOf(content, "sha512");
    await using upload = await store.begin("u", { algorithm: "sha256" });
    await upload.write(content);
    await upload.commit(digest);
    assert.equal((await store.stat(digest))?.size, 400_000);
  });

  on("an upload is gone after its commit", async (store) => {
    const upload = await store.begin("u");
    await upload.commit(digestOf(""));
    await rejects(upload.write(pattern(1)), "not-found");
    await rejects(upload.sync(), "not-found");
    await rejects(upload.commit(digestOf("")), "not-found");
    await upload.cancel();
    await upload[Symbol.asyncDispose]();
    assert.equal(await store.resume("u"), undefined);
    await (await store.begin("u")).cancel();
  });

  on("commits a digest that is there already", async (store) => {
    const content = pattern(3000);
    const digest = await put(store, "first", content);
    await using blob = (await store.open(digest))!;
    assert.equal(await put(store, "second", content), digest);
    assert.equal(await store.resume("second"), undefined);
    assert.deepEqual(await collect(blob), content);
    assert.equal((await Array.fromAsync(store.list())).length, 1);
  });

  on("twins that upload one digest at once both succeed", async (store) => {
    const content = pattern(900_000);
    const digest = digestOf(content);
    const twin = async (id: string): Promise<void> => {
      await using upload = await store.begin(id);
      for (let at = 0; at < content.length; at += 90_000) await upload.write(content.subarray(at, at + 90_000));
      assert.deepEqual(await upload.commit(digest), { digest, size: 900_000 });
    };
    await Promise.all(["a", "b", "c", "d"].map(twin));
    await using blob = (await store.open(digest))!;
    assert.deepEqual(await collect(blob), content);
    assert.equal((await Array.fromAsync(store.list())).length, 1);
  });

  on("cuts back, also below what was synced, and takes the bytes again", async (store) => {
    const content = pattern(500_000);
    await using upload = await store.begin("u");
    await upload.write(content.subarray(0, 300_000));
    await upload.sync();
    await upload.write(pattern(100_000, 9));
    await upload.truncate(300_000);
    await upload.write(pattern(50_000, 8));
    await upload.truncate(310_000);
    await upload.truncate(200_000);
    assert.equal(upload.offset, 200_000);
    await rejects(upload.truncate(200_001), "invalid-range");
    await rejects(upload.truncate(-1), "invalid-range");
    await upload.write(content.subarray(200_000));
    await upload.commit(digestOf(content));
    await using blob = (await store.open(digestOf(content)))!;
    assert.deepEqual(await collect(blob), content);
  });

  on("cuts back to nothing", async (store) => {
    await using upload = await store.begin("u");
    await upload.write(pattern(70_000));
    await upload.truncate(0);
    await upload.commit(digestOf(""));
    assert.equal((await store.stat(digestOf("")))?.size, 0);
  });

  on("reads what has arrived while more arrives, to the end of the commit and beyond", async (store) => {
    const content = pattern(2_000_000);
    const upload = await store.begin("u");
    await upload.write(content.subarray(0, 1_000_000));
    await rejects(collect(upload, { start: 0, end: 1_000_001 }), "invalid-range");
    const first = Promise.withResolvers<void>();
    const goOn = Promise.withResolvers<void>();
    const parts: Buffer[] = [];
    const reading = upload.read(
      { start: 10, end: 1_000_000 },
      {
        async write(chunk) {
          parts.push(Buffer.from(chunk));
          first.resolve();
          await goOn.promise;
        },
      },
    );
    await first.promise;
    await upload.write(content.subarray(1_000_000));
    assert.deepEqual(await collect(upload, { start: 900_000, end: 2_000_000 }), content.subarray(900_000));
    await upload.commit(digestOf(content));
    goOn.resolve();
    await reading;
    assert.deepEqual(Buffer.concat(parts), content.subarray(10, 1_000_000));
  });

  on("cancels, as often as one likes", async (store) => {
    const upload = await store.begin("u");
    await upload.write(pattern(100_000));
    await upload.cancel();
    await upload.cancel();
    await rejects(upload.write(pattern(1)), "not-found");
    assert.equal(await store.resume("u"), undefined);
    await (await store.begin("u")).cancel();
  });
}

function writerContract(on: On): void {
  on("begins an upload once", async (store) => {
    await using _upload = await store.begin("u");
    await rejects(store.begin("u"), "conflict");
    assert.equal(await store.resume("other"), undefined);
  });

  on("refuses ids that are no plain names", async (store) => {
    for (const id of ["", ".", "..", "../x", "a/b", "a\\b", "a.b", "a\0", "a\n", "ä", "x".repeat(129)]) {
      await rejects(store.begin(id), "invalid");
      await rejects(store.resume(id), "invalid");
    }
    for (const id of ["x".repeat(128), "-", "_"]) await (await store.begin(id)).cancel();
  });

  on("resumes at the synced offset after a close", async (store) => {
    const content = pattern(800_000);
    const first = await store.begin("u");
    await first.write(content.subarray(0, 500_000));
    await first.sync();
    await first.write(pattern(100_000, 7));
    await first[Symbol.asyncDispose]();
    await rejects(first.write(pattern(1)), "not-found");
    await using second = (await store.resume("u"))!;
    assert.equal(second.offset, 500_000);
    await second.write(content.subarray(500_000));
    await second.commit(digestOf(content));
    await using blob = (await store.open(digestOf(content)))!;
    assert.deepEqual(await collect(blob), content);
  });

  on("resumes what was never synced at the beginning", async (store) => {
    const first = await store.begin("u");
    await first.write(pattern(100));
    await first[Symbol.asyncDispose]();
    await using second = (await store.resume("u"))!;
    assert.equal(second.offset, 0);
    await second.commit(digestOf(""));
  });

  on("resumes by the other algorithm", async (store) => {
    const content = pattern(600_000);
    const first = await store.begin("u");
    await first.write(content.subarray(0, 400_000));
    await first.sync();
    await first[Symbol.asyncDispose]();
    await using second = (await store.resume("u", { algorithm: "sha512" }))!;
    await second.write(content.subarray(400_000));
    await second.commit(digestOf(content, "sha512"));
  });

  on("a newer writer fences the older one", async (store) => {
    const content = pattern(100_000);
    const older = await store.begin("u");
    await older.write(content.subarray(0, 60_000));
    await older.sync();
    await older.write(pattern(1000, 5));
    await using newer = (await store.resume("u"))!;
    assert.equal(newer.offset, 60_000);
    const attempts: Array<() => Promise<unknown>> = [
      () => older.write(pattern(1)),
      () => older.sync(),
      () => older.truncate(0),
      () => older.commit(digestOf(content)),
      () => older.cancel(),
      () => collect(older, { start: 0, end: 1 }),
    ];
    for (const attempt of attempts) await rejects(attempt(), "fenced");
    await older[Symbol.asyncDispose]();
    await newer.write(content.subarray(60_000));
    await newer.commit(digestOf(content));
    assert.equal((await store.stat(digestOf(content)))?.size, 100_000);
  });

  on("fences in the midst of a write, and both end", async (store) => {
    const content = pattern(400_000);
    const older = await store.begin("u");
    const writing = (async () => {
      for (;;) await older.write(content);
    })();
    writing.catch(() => undefined);
    await older.sync().catch(() => undefined);
    const newer = (await store.resume("u"))!;
    await rejects(writing, "fenced");
    await newer.truncate(0);
    await newer.write(content);
    await newer.commit(digestOf(content));
    await using blob = (await store.open(digestOf(content)))!;
    assert.deepEqual(await collect(blob), content);
  });

  on("of many that resume at once the last one writes", async (store) => {
    await (await store.begin("u"))[Symbol.asyncDispose]();
    const writers = await Promise.all(Array.from({ length: 10 }, () => store.resume("u")));
    const outcomes = await Promise.allSettled(writers.map((writer) => writer!.write(pattern(10))));
    assert.deepEqual(
      outcomes.map(({ status }) => status),
      [...Array.from({ length: 9 }, () => "rejected"), "fulfilled"],
    );
    await writers.at(-1)!.commit(digestOf(pattern(10)));
  });
}

function restartContract(on: On): void {
  on("has its blobs again after a restart, and counts them", async (store, { reopen }) => {
    const content = pattern(300_000);
    const digest = await put(store, "u", content);
    const again = await reopen!();
    await using blob = (await again.open(digest))!;
    assert.deepEqual(await collect(blob), content);
    assert.deepEqual([(await again.usage()).blobs, (await again.usage()).bytes], [1, 300_000]);
  });

  for (const algorithm of ["sha256", "sha512"] as const) {
    on(`resumes at the synced offset after a restart, by ${algorithm}`, async (store, { reopen }) => {
      const content = pattern(700_000);
      const upload = await store.begin("u", { algorithm });
      await upload.write(content.subarray(0, 300_000));
      await upload.sync();
      await upload.write(content.subarray(300_000, 400_000));
      const again = await reopen!();
      await rejects(upload.write(pattern(1)), "not-found");
      await rejects(again.begin("u"), "conflict");
      await using resumed = (await again.resume("u"))!;
      assert.equal(resumed.offset, 300_000);
      await resumed.write(content.subarray(300_000));
      await resumed.commit(digestOf(content, algorithm));
    });
  }

  on("keeps a cut over a restart", async (store, { reopen }) => {
    const content = pattern(200_000);
    const upload = await store.begin("u");
    await upload.write(content);
    await upload.sync();
    await upload.truncate(50_000);
    await upload.write(pattern(100_000, 6));
    const again = await reopen!();
    await using resumed = (await again.resume("u"))!;
    assert.equal(resumed.offset, 50_000);
    await resumed.write(content.subarray(50_000));
    await resumed.commit(digestOf(content));
  });
}

/** Bytes that differ at every place, the same for the same seed. */
export function pattern(size: number, seed = 1): Buffer {
  const bytes = Buffer.allocUnsafe(size);
  let state = seed;
  for (let i = 0; i < size; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    bytes[i] = state >>> 24;
  }
  return bytes;
}

/** Stores content by way of an upload; its digest is sha256 unless given. */
export async function put(
  store: BlobStore,
  id: string,
  content: Uint8Array,
  digest = digestOf(content),
): Promise<Digest> {
  await using upload = await store.begin(id, { algorithm: digest.startsWith("sha512") ? "sha512" : "sha256" });
  await upload.write(content);
  await upload.commit(digest);
  return digest;
}

/** Everything of a span; of the whole blob when there is none. */
export async function collect(source: OpenBlob | Upload, span?: ByteSpan): Promise<Buffer> {
  const parts: Buffer[] = [];
  const all = { start: 0, end: "size" in source ? source.size : source.offset };
  await source.read(span ?? all, { write: (chunk) => void parts.push(Buffer.from(chunk)) });
  return Buffer.concat(parts);
}

async function rejects(promise: Promise<unknown>, kind: ContentErrorKind): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.ok(isContentError(error, kind), `${kind} wanted, got ${String(error)}`);
    return true;
  });
}
