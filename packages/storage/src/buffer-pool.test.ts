import assert from "node:assert/strict";
import { test } from "node:test";
import { BufferPool } from "./buffer-pool.ts";

test("lends as many as it may, then makes others wait in order", async () => {
  const pool = new BufferPool({ bufferBytes: 10, maxBuffers: 2 });
  const [a, b] = await Promise.all([pool.acquire(), pool.acquire()]);
  assert.deepEqual([a.length, pool.lent], [10, 2]);
  assert.equal(pool.tryAcquire(), undefined);
  const order: string[] = [];
  const first = pool.acquire().then((buffer) => order.push("first") && buffer);
  const second = pool.acquire().then((buffer) => order.push("second") && buffer);
  pool.release(a);
  assert.equal(await first, a);
  assert.equal(pool.tryAcquire(), undefined, "nobody overtakes those who wait");
  pool.release(b);
  assert.equal(await second, b);
  assert.deepEqual(order, ["first", "second"]);
  pool.release(a);
  pool.release(b);
  assert.equal(pool.lent, 0);
});

test("one that gives up waiting takes no buffer with it", async () => {
  const pool = new BufferPool({ bufferBytes: 10, maxBuffers: 1 });
  const held = await pool.acquire();
  const controller = new AbortController();
  const waiting = pool.acquire({ signal: controller.signal });
  const next = pool.acquire();
  controller.abort(new Error("gone"));
  await assert.rejects(waiting, /gone/);
  pool.release(held);
  pool.release(await next);
  assert.equal(pool.lent, 0);
  await assert.rejects(pool.acquire({ signal: AbortSignal.abort(new Error("before")) }), /before/);
});

test("lends large buffers to those who want much, while there are any", async () => {
  const pool = new BufferPool({ bufferBytes: 10, maxBuffers: 1, large: { bufferBytes: 100, maxBuffers: 1 } });
  const little = pool.tryAcquire(10);
  assert.equal(little?.length, 10);
  pool.release(little);
  const much = await pool.acquire({ wanted: 11 });
  const second = pool.tryAcquire(1_000);
  assert.deepEqual([much.length, second?.length, pool.lent], [100, 10, 2]);
  assert.equal(pool.tryAcquire(1_000), undefined);
  const waiting = pool.acquire();
  pool.release(much);
  assert.equal(await waiting, much, "whoever waits takes what comes");
  pool.release(much);
  pool.release(second!);
  assert.equal(pool.lent, 0);
  assert.deepEqual([pool.tryAcquire(11)?.length, pool.tryAcquire(11)?.length], [100, 10]);
});

test("lends small buffers once the usual ones are out, and gives none of them as a second one", async () => {
  const small = { bufferBytes: 5, maxBuffers: 2 };
  const pool = new BufferPool({ bufferBytes: 10, maxBuffers: 1, small, sparesBelow: 1 });
  const lent = [await pool.acquire(), await pool.acquire(), await pool.acquire()];
  assert.deepEqual([lent.map(({ length }) => length), pool.lent, pool.isCrowded], [[10, 5, 5], 3, true]);
  assert.equal(pool.tryAcquire(), undefined);
  assert.equal(pool.trySpare(), undefined);
  const waiting = pool.acquire();
  pool.release(lent[1]!);
  assert.equal(await waiting, lent[1]);
  for (const buffer of lent) pool.release(buffer);
  assert.deepEqual([pool.lent, pool.isCrowded], [0, false]);
  assert.deepEqual([pool.tryAcquire()?.length, pool.tryAcquire()?.length], [10, 5]);
});

test("lends a second buffer only while few are out", async () => {
  const pool = new BufferPool({ bufferBytes: 10, maxBuffers: 4, sparesBelow: 2 });
  await pool.acquire();
  const spare = pool.trySpare();
  assert.equal(spare?.length, 10);
  assert.equal(pool.trySpare(), undefined);
  assert.equal((await pool.acquire()).length, 10, "a first one is there all the same");
  pool.release(spare);
});
