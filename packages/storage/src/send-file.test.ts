import assert from "node:assert/strict";
import { open, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { BufferPool } from "./buffer-pool.ts";
import { pattern } from "./contract-content.ts";
import { temporaryFolder } from "./filesystem-fixture.ts";
import { sendFile } from "./send-file.ts";

test("more streams than buffers: all end, none holds more than the pool has", async () => {
  await using folder = await temporaryFolder();
  const content = pattern(40_000);
  await writeFile(join(folder.path, "f"), content);
  await using handle = await open(join(folder.path, "f"));
  const pool = new BufferPool({ bufferBytes: 1000, maxBuffers: 3 });
  let most = 0;
  const send = async (): Promise<void> => {
    const parts: Buffer[] = [];
    const sink = {
      async write(chunk: Uint8Array): Promise<void> {
        most = Math.max(most, pool.lent);
        parts.push(Buffer.from(chunk));
        await new Promise((resolve) => setImmediate(resolve));
      },
    };
    await sendFile({ handle, span: { start: 5, end: 39_999 }, sink, pool });
    assert.deepEqual(Buffer.concat(parts), content.subarray(5, 39_999));
  };
  await Promise.all(Array.from({ length: 12 }, send));
  assert.equal(most, 3);
  assert.equal(pool.lent, 0);
});

test("every buffer comes back: after a failing sink, an abort, a file that ends early, a bad handle", async () => {
  await using folder = await temporaryFolder();
  await writeFile(join(folder.path, "f"), pattern(5000));
  const handle = await open(join(folder.path, "f"));
  const pool = new BufferPool({ bufferBytes: 1000, maxBuffers: 4 });
  const span = { start: 0, end: 5000 };
  const failing = { write: () => Promise.reject(new Error("gone")) };
  const throwing = {
    write(): void {
      throw new Error("thrown");
    },
  };
  await assert.rejects(sendFile({ handle, span, sink: failing, pool }), /gone/);
  await assert.rejects(sendFile({ handle, span, sink: throwing, pool }), /thrown/);
  await assert.rejects(sendFile({ handle, span: { start: 0, end: 9000 }, sink: { write() {} }, pool }), {
    kind: "unavailable",
    message: /ended at byte 5000 of 9000/,
  });
  assert.equal(pool.lent, 0);

  const controller = new AbortController();
  const held = Promise.withResolvers<void>();
  const holding = {
    write(): Promise<void> {
      queueMicrotask(() => controller.abort(new Error("stop")));
      return held.promise;
    },
  };
  await assert.rejects(sendFile({ handle, span, sink: holding, pool, signal: controller.signal }), /stop/);
  assert.equal(pool.lent, 1, "the sink has its chunk until it is done");
  held.resolve();
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(pool.lent, 0);

  await handle.close();
  await assert.rejects(sendFile({ handle, span, sink: { write() {} }, pool }), { kind: "unavailable" });
  assert.equal(pool.lent, 0);
});

test("reads ahead while the sink is busy", async () => {
  await using folder = await temporaryFolder();
  await writeFile(join(folder.path, "f"), pattern(3000));
  await using handle = await open(join(folder.path, "f"));
  const pool = new BufferPool({ bufferBytes: 1000, maxBuffers: 2 });
  const lent: number[] = [];
  await sendFile({ handle, span: { start: 0, end: 3000 }, sink: { write: () => void lent.push(pool.lent) }, pool });
  assert.deepEqual(lent, [2, 2, 2]);
});

test("gives its second buffer back once there are many streams", async () => {
  await using folder = await temporaryFolder();
  await writeFile(join(folder.path, "f"), pattern(5000));
  await using handle = await open(join(folder.path, "f"));
  const pool = new BufferPool({ bufferBytes: 1000, maxBuffers: 8, sparesBelow: 2 });
  const others: Buffer[] = [];
  const lent: number[] = [];
  const sink = {
    async write(): Promise<void> {
      if (others.length < 2) others.push(await pool.acquire());
      lent.push(pool.lent - others.length);
    },
  };
  await sendFile({ handle, span: { start: 0, end: 5000 }, sink, pool });
  assert.deepEqual(lent, [2, 1, 1, 1, 1]);
  for (const buffer of others) pool.release(buffer);
  assert.equal(pool.lent, 0);
});
