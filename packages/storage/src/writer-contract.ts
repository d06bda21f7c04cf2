import assert from "node:assert/strict";
import { digestOf } from "@meridian/oci";
import type { On } from "./contract.ts";
import { collect, pattern, put, rejects } from "./contract-content.ts";

/** Who may write an upload, and where a later writer begins. */
export function writerContract(on: On): void {
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

/** What is there again after a restart. */
export function restartContract(on: On): void {
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
