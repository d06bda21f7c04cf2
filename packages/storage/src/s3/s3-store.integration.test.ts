import assert from "node:assert/strict";
import { test } from "node:test";
import { digestOf, isContentError } from "@meridian/oci";
import { createSystemClock, type Logger } from "@meridian/runtime";
import { collect, pattern, put } from "../contract-content.ts";
import { MINIO_CREDENTIALS } from "./minio.fixture.ts";
import { onMinio } from "./minio-suite.fixture.ts";
import { createS3Client } from "./s3-client.ts";
import { bucketAt, keysIn, openStoreAt } from "./s3-store.fixture.ts";

const MIB = 1024 * 1024;
const doing = "test";

onMinio("S3 store on MinIO", (minio) => {
  test("leaves nothing but blobs behind, each whole under its digest", async () => {
    const place = { ...minio().newPlace(), prefix: "eu/node-1" };
    const small = pattern(5_000);
    const large = pattern(21 * MIB);
    {
      await using store = await openStoreAt(place);
      await put(store, "small", small);
      await put(store, "large", large);
      await (await store.begin("cancelled")).cancel();
      await store.probe();
    }
    const blobKey = (content: Buffer): string => {
      const hex = digestOf(content).slice(7);
      return `eu/node-1/blobs/sha256/${hex.slice(0, 2)}/${hex}`;
    };
    assert.deepEqual(await keysIn(place), [blobKey(small), blobKey(large)].sort().concat("eu/node-1/format"));
    using bucket = bucketAt(place);
    assert.equal(await bucket.size(blobKey(large), { doing }), large.length);
  });

  test("a start removes what crashes left, aborts uploads in the bucket, and keeps what may be resumed", async () => {
    const place = minio().newPlace();
    const content = pattern(20 * MIB);
    {
      await using store = await openStoreAt(place);
      await using upload = await store.begin("young");
      await upload.write(content);
      await upload.sync();
      await (await store.begin("old"))[Symbol.asyncDispose]();
    }
    const kept = (await keysIn(place, "uploads/young/")).sort();
    using bucket = bucketAt(place);
    const to = `blobs/sha256/aa/${"aa".repeat(32)}`;
    const unfinished = { key: to, uploadId: await bucket.beginMultipart(to, { doing }) };
    for (const [key, body] of [
      ["uploads/young/0123-7-10", "never synced"],
      ["uploads/young/assembling", JSON.stringify(unfinished)],
      ["uploads/gone/0123-1-10", "its upload has ended"],
      ["probe/0123", "probe"],
    ] as const) {
      await bucket.put(key, Buffer.from(body), { doing });
    }
    assert.equal((await bucket.unfinishedUploads(to, { doing })).length, 1);
    {
      await using _store = await openStoreAt(place);
    }
    assert.deepEqual(await bucket.unfinishedUploads(to, { doing }), []);
    assert.deepEqual((await keysIn(place)).sort(), ["format", "uploads/old/state", ...kept]);
    const clock = createSystemClock();
    clock.skew(8 * 24 * 3600 * 1000);
    await using store = await openStoreAt(place, { clock });
    assert.deepEqual(await keysIn(place), ["format"]);
    assert.equal(await store.resume("young"), undefined);
  });

  test("uploads share bounded memory, and none waits for a client that pauses", async () => {
    await using store = await openStoreAt(minio().newPlace(), { uploadMemoryBytes: 16 * MIB });
    const paused = await Promise.all(["p", "q", "r", "s"].map((id) => store.begin(id)));
    for (const upload of paused) await upload.write(pattern(3 * MIB));
    const chunk = pattern(MIB);
    let peak = 0;
    const push = async (id: string): Promise<void> => {
      await using upload = await store.begin(id);
      for (let i = 0; i < 24; i++) {
        await upload.write(chunk);
        peak = Math.max(peak, process.memoryUsage().arrayBuffers);
      }
      await upload.commit(digestOf(Buffer.concat(Array.from({ length: 24 }, () => chunk))));
    };
    const before = process.memoryUsage().arrayBuffers;
    await Promise.all(["a", "b", "c"].map(push));
    assert.ok(peak - before < 80 * MIB, `${Math.round((peak - before) / MIB)} MiB`);
    for (const upload of paused) await upload.commit(digestOf(pattern(3 * MIB)));
  });

  test("a bucket that is missing is named, and used as soon as it is there", async () => {
    const place = minio().newPlace();
    const said: string[] = [];
    const log = listening(said);
    await using store = await openStoreAt(place, { createBucket: false, log });
    const missing = new RegExp(
      `bucket "${place.bucket}" at ${minio().endpoint} \\(NoSuchBucket\\): there is no such bucket`,
    );
    await assert.rejects(store.probe(), missing);
    await assert.rejects(store.begin("u"), missing);
    await assert.rejects(store.stat(digestOf("x")), missing, "absence is not made up");
    assert.match(said[0] ?? "", missing);
    using bucket = bucketAt(place);
    await bucket.create();
    await store.probe();
    await put(store, "u", pattern(10));
  });

  test("wrong credentials and an endpoint that is away are named, without any secret", async () => {
    const place = minio().newPlace();
    const cases = [
      {
        credentials: { ...MINIO_CREDENTIALS, secretAccessKey: "S3CRET-wrong" },
        at: place,
        says: /AWS_SECRET_ACCESS_KEY|may not/,
      },
      { credentials: { ...MINIO_CREDENTIALS, accessKeyId: "nobody" }, at: place, says: /AWS_ACCESS_KEY_ID|may not/ },
      {
        credentials: MINIO_CREDENTIALS,
        at: { ...place, endpoint: "http://127.0.0.1:1" },
        says: /ECONNREFUSED.*start it/,
      },
    ];
    for (const { credentials, at, says } of cases) {
      const said: string[] = [];
      const options = { credentials: async () => credentials, log: listening(said), readRetryForMs: 100 };
      await using store = await openStoreAt(at, options);
      await assert.rejects(store.probe(), (error) => {
        assert.ok(isContentError(error, "unavailable"));
        assert.match(error.message, says);
        assert.ok(error.message.includes(place.bucket) && error.message.includes(at.endpoint));
        return true;
      });
      assert.doesNotMatch(said.join("\n"), /S3CRET|meridian-secret|nobody/);
    }
  });

  test("a bucket of another node is refused", async () => {
    const place = minio().newPlace();
    {
      await using _store = await openStoreAt(place);
    }
    await using other = await openStoreAt(place, { owner: "eu/node-2" });
    await assert.rejects(other.begin("u"), /in use by node eu\/site, this is eu\/node-2: give each node its own/);
    await using own = await openStoreAt({ ...place, prefix: "node-2" }, { owner: "eu/node-2" });
    await put(own, "u", pattern(10));
  });

  for (const encryption of [{ type: "AES256" }, { type: "aws:kms", keyId: "tests" }] as const) {
    test(`passes encryption by ${encryption.type} through, however a blob is made`, async () => {
      const place = minio().newPlace();
      await using store = await openStoreAt(place, { encryption });
      await store.put(digestOf("small"), Buffer.from("small"));
      const synced = pattern(6_000);
      await using upload = await store.begin("synced");
      await upload.write(synced);
      await upload.sync();
      await upload.commit(digestOf(synced));
      const large = await put(store, "large", pattern(9 * MIB));
      using connection = createS3Client({ place, credentials: async () => MINIO_CREDENTIALS, idleMs: 10_000 });
      const keys = await keysIn(place, "blobs/");
      assert.equal(keys.length, 3);
      for (const objectName of keys) {
        const request = { method: "HEAD", bucketName: place.bucket, objectName };
        const { headers } = await connection.client.makeRequestAsync(request);
        assert.equal(headers["x-amz-server-side-encryption"], encryption.type);
      }
      await using blob = (await store.open(large))!;
      assert.deepEqual(await collect(blob), pattern(9 * MIB));
    });
  }

  test("a signed URL gives the blob and its ranges to anybody, until it expires", async () => {
    await using store = await openStoreAt(minio().newPlace(), { links: true });
    const content = pattern(100_000);
    const digest = await put(store, "u", content);
    assert.equal(await store.link?.(digestOf("absent"), { forMs: 30_000 }), undefined);
    const url = (await store.link?.(digest, { forMs: 1_000 }))!;
    const get = (): Promise<Response> => fetch(url, { headers: { range: "bytes=10-19" } });
    const answer = await get();
    assert.equal(answer.status, 206);
    assert.deepEqual(Buffer.from(await answer.arrayBuffer()), content.subarray(10, 20));
    const deadline = performance.now() + 20_000;
    let status = 206;
    while (status === 206 && performance.now() < deadline) {
      const again = await get();
      await again.arrayBuffer();
      status = again.status;
    }
    assert.equal(status, 403);
  });
});

function listening(said: string[]): Logger {
  const note = (message: string, fields?: unknown): void => void said.push(`${message} ${JSON.stringify(fields)}`);
  const log: Logger = { debug: note, info: note, warn: note, error: note, child: () => log };
  return log;
}
