import assert from "node:assert/strict";
import { test } from "node:test";
import { digestOf, isContentError } from "@meridian/oci";
import type { Damage } from "../blob-checks.ts";
import { collect, pattern, put, rejects } from "../contract-content.ts";
import { FaultyProxy } from "./faulty-proxy.fixture.ts";
import type { Minio } from "./minio.fixture.ts";
import { onMinio } from "./minio-suite.fixture.ts";
import { bucketAt, keysIn, openStoreAt } from "./s3-store.fixture.ts";

const MIB = 1024 * 1024;

onMinio("faults of MinIO", (minio) => {
  test("a kill -9 between and in the midst of requests loses nothing that was acknowledged", async () => {
    const place = minio().newPlace();
    const content = pattern(40 * MIB);
    let synced = 0;
    {
      await using store = await openStoreAt(place, { retryForMs: 60_000 });
      await using upload = await store.begin("u");
      for (let at = 0; at < 28 * MIB; at += MIB) {
        // Killed while segments are on their way, and again while one is being synced.
        const restart = at === 9 * MIB || at === 20 * MIB ? killAndStart(minio()) : undefined;
        await upload.write(content.subarray(at, at + MIB));
        if (at % (4 * MIB) === 0) {
          await upload.sync();
          synced = upload.offset;
        }
        await restart;
      }
    }
    await killAndStart(minio());
    await using store = await openStoreAt(place, { retryForMs: 60_000 });
    await using upload = (await store.resume("u"))!;
    assert.equal(upload.offset, synced);
    await upload.write(content.subarray(synced));
    const restart = killAndStart(minio());
    await upload.commit(digestOf(content));
    await restart;
    await killAndStart(minio());
    await using blob = (await store.open(digestOf(content)))!;
    assert.equal(digestOf(await collect(blob)), digestOf(content));
  });

  test("a pull goes on where a kill -9 cut it off", async () => {
    await using store = await openStoreAt(minio().newPlace(), { readRetryForMs: 60_000 });
    const content = pattern(30 * MIB);
    await using blob = (await store.open(await put(store, "u", content)))!;
    const parts: Buffer[] = [];
    let seen = 0;
    let restart: Promise<void> | undefined;
    const sink = {
      async write(chunk: Uint8Array): Promise<void> {
        parts.push(Buffer.from(chunk));
        seen += chunk.byteLength;
        if (seen > 10 * MIB) restart ??= killAndStart(minio());
        await restart;
      },
    };
    await blob.read({ start: 0, end: blob.size }, sink);
    assert.ok(restart !== undefined);
    assert.deepEqual(Buffer.concat(parts), content);
  });

  test("of blobs that are stored while it is killed again and again none is lost, and no other is half there", async () => {
    const place = minio().newPlace();
    await using store = await openStoreAt(place, { retryForMs: 500 });
    const acknowledged = new Set<string>();
    let over = false;
    const client = async (name: number): Promise<void> => {
      for (let i = 0; !over; i++) {
        const content = pattern(i % 4 === 0 ? 9 * MIB + i : 50_000 + i, 100 * name + i + 1);
        const stored = await put(store, `c${name}-${i}`, content).catch((error: unknown) => {
          assert.ok(isContentError(error, "unavailable"), String(error));
          return undefined;
        });
        if (stored !== undefined) acknowledged.add(stored);
        else await new Promise((resolve) => setTimeout(resolve, 20));
      }
    };
    const clients = Promise.all([1, 2, 3].map(client));
    for (let round = 0; round < 5; round++) {
      const before = acknowledged.size;
      await until(() => acknowledged.size >= before + 4);
      await killAndStart(minio());
    }
    over = true;
    await clients;
    await using again = await openStoreAt(place);
    for await (const { digest } of again.list()) {
      await using blob = (await again.open(digest))!;
      assert.equal(digestOf(await collect(blob)), digest);
      acknowledged.delete(digest);
    }
    assert.deepEqual([...acknowledged], []);
  });

  test("waits when it is told to slow down, and gives up in time", async () => {
    await using proxy = await FaultyProxy.start(minio().endpoint);
    const place = { ...minio().newPlace(), endpoint: proxy.endpoint };
    await using store = await openStoreAt(place, { retryForMs: 5_000, readRetryForMs: 1_000 });
    const seen = new Map<string, number>();
    // Every request is refused once, the overload and an error of the server taking turns.
    proxy.fault = (line) => {
      const times = (seen.get(line) ?? 0) + 1;
      seen.set(line, times);
      return times === 1 ? { refuse: seen.size % 2 ? "SlowDown" : "InternalError" } : undefined;
    };
    const content = pattern(9 * MIB);
    await using blob = (await store.open(await put(store, "u", content)))!;
    assert.deepEqual(await collect(blob), content);
    proxy.fault = () => ({ refuse: "SlowDown" });
    await assert.rejects(store.stat(digestOf("other")), /503.*overloaded/);
  });

  test("a slow bucket has all but a bounded rest of a large blob when its last byte has been taken", async () => {
    await using proxy = await FaultyProxy.start(minio().endpoint);
    await using store = await openStoreAt({ ...minio().newPlace(), endpoint: proxy.endpoint });
    const content = pattern(64 * MIB);
    proxy.bytesPerMs = 60_000;
    await using upload = await store.begin("u");
    for (let at = 0; at < content.length; at += MIB) await upload.write(content.subarray(at, at + MIB));
    const before = proxy.passedOn;
    await upload.commit(digestOf(content));
    // Four parts on their way and one that is being filled, whatever the blob's size: seconds on any store that works.
    const rest = proxy.passedOn - before;
    assert.ok(rest <= 41 * MIB, `${Math.round(rest / MIB)} MiB were sent after the last byte`);
    assert.ok(proxy.passedOn >= content.length);
  });

  test("goes on after answers that are cut off, and is not misled by answers that are lost", async () => {
    await using proxy = await FaultyProxy.start(minio().endpoint);
    const place = { ...minio().newPlace(), endpoint: proxy.endpoint };
    await using store = await openStoreAt(place, { retryForMs: 20_000, readRetryForMs: 20_000 });
    const lost = new Set<string>();
    proxy.fault = (line) => {
      const kind = line.replace(/(uploads|blobs)\/[^?]*/, "$1").replace(/=[^&]*/g, "");
      if (line.startsWith("GET") || lost.has(kind)) return undefined;
      lost.add(kind);
      return "lose the answer";
    };
    const content = pattern(17 * MIB);
    const digest = await put(store, "u", content);
    assert.ok(
      [...lost].some((kind) => kind.includes("uploadId")),
      "the completion's answer was lost as well",
    );
    assert.equal(await store.resume("u"), undefined);
    proxy.fault = (line) => (line.startsWith("GET") ? { cutAfter: 2_500_000 } : undefined);
    await using blob = (await store.open(digest))!;
    assert.deepEqual(await collect(blob), content);
  });

  test("gives up on a connection that says nothing, and names bucket and endpoint", async () => {
    await using proxy = await FaultyProxy.start(minio().endpoint);
    const place = { ...minio().newPlace(), endpoint: proxy.endpoint };
    await using store = await openStoreAt(place, { idleMs: 200, readRetryForMs: 100 });
    proxy.fault = () => "hang";
    await assert.rejects(store.stat(digestOf("x")), (error) => {
      assert.ok(isContentError(error, "unavailable"));
      assert.match(error.message, /ETIMEDOUT/);
      assert.ok(error.message.includes(place.bucket) && error.message.includes(proxy.endpoint));
      return true;
    });
  });

  test("never lists on the way of a pull or a push, and asks once for the size", async () => {
    await using proxy = await FaultyProxy.start(minio().endpoint);
    const place = { ...minio().newPlace(), endpoint: proxy.endpoint };
    const content = pattern(9 * MIB);
    const digest = digestOf(content);
    {
      await using store = await openStoreAt(place);
      proxy.seen.length = 0;
      await put(store, "u", content);
      await store.put(digestOf("small"), Buffer.from("small"));
    }
    await using store = await openStoreAt(place);
    const pushed = proxy.seen.filter((line) => !/list-type|uploads&/.test(line));
    assert.ok(pushed.length > 4);
    proxy.seen.length = 0;
    for (let i = 0; i < 3; i++) {
      await using blob = (await store.open(digest))!;
      await collect(blob, { start: i, end: 100 + i });
    }
    assert.deepEqual(
      proxy.seen.map((line) => line.split(" ")[0]),
      ["HEAD", "GET", "GET", "GET"],
    );
  });

  test("wrong bytes in the bucket are found on reading, their last piece never leaves, and a commit heals", async () => {
    const place = minio().newPlace();
    await using store = await openStoreAt(place);
    const content = pattern(3 * MIB);
    const digest = await put(store, "u", content);
    const key = (await keysIn(place, "blobs/"))[0]!;
    const wrong = Buffer.from(content);
    wrong[2 * MIB]! ^= 1;
    for (const bytes of [wrong, content.subarray(0, MIB), Buffer.concat([content, content])]) {
      {
        using bucket = bucketAt(place);
        await bucket.put(key, Buffer.from(bytes), { doing: "break a blob" });
      }
      let sent = 0;
      await using again = await openStoreAt(place);
      const damages: Damage[] = [];
      using _watching = again.checks!.watch((damage) => damages.push(damage));
      await using blob = (await again.open(digest))!;
      const sink = {
        write(chunk: Uint8Array): void {
          sent += chunk.byteLength;
        },
      };
      await rejects(blob.read({ start: 0, end: blob.size }, sink), "digest-mismatch");
      assert.equal(sent, bytes.length - 256 * 1024);
      assert.equal(await again.open(digest), undefined, "it is fetched from elsewhere from now on");
      await until(async () => (await keysIn(place, "blobs/")).length === 0);
      await until(() => damages.length > 0);
      assert.deepEqual(damages, [{ digest, problem: "its bytes do not hash to its digest" }]);
      const [copy] = await Array.fromAsync(again.checks!.quarantined());
      assert.equal(copy?.digest, digest);
      assert.equal(await again.checks!.check(digest), "absent");
      await put(again, "heal", content);
      await using healed = (await again.open(digest))!;
      assert.deepEqual(await collect(healed), content);
      assert.equal(await again.checks!.check(digest), "right");
    }
    using bucket = bucketAt(place);
    await bucket.put(key, wrong, { doing: "break a blob" });
    assert.equal(await store.checks!.check(digest), "damaged");
    assert.equal(await store.open(digest), undefined);
  });
});

async function killAndStart(minio: Minio): Promise<void> {
  await minio.kill();
  await minio.start();
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!(await condition())) {
    assert.ok(performance.now() < deadline, "it should have come about by now");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
