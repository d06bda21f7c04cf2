import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { describe, it } from "node:test";
import type { Timers } from "@meridian/runtime";
import { RequestBody } from "./request-body.ts";

/** Timers whose time passes when a test says so. */
function handTimers(): Timers & { elapse(): void } {
  const due = new Set<() => void>();
  return {
    sleep: () => Promise.reject(new Error("not used")),
    every: () => assert.fail("not used"),
    after(_ms, run) {
      due.add(run);
      return { [Symbol.dispose]: () => void due.delete(run) };
    },
    elapse() {
      for (const run of [...due]) {
        due.delete(run);
        run();
      }
    },
  };
}

function opened() {
  const stream = new Readable({ read() {} });
  const timers = handTimers();
  const body = new RequestBody(stream, { idleMs: 1000, timers });
  return { stream, timers, body };
}

const chunk = (bytes: number, fill: number): Buffer => Buffer.alloc(bytes, fill);

describe("a request's body", () => {
  it("comes in order, and ends", async () => {
    const { stream, body } = opened();
    for (const fill of [1, 2, 3]) stream.push(chunk(10, fill));
    stream.push(null);
    const firsts = (await Array.fromAsync(body)).map((one) => one[0]);
    assert.deepEqual(firsts, [1, 2, 3]);
  });

  it("waits in the connection while its reader is slow", async () => {
    const { stream, body } = opened();
    const chunks = body[Symbol.asyncIterator]();
    let pushed = 0;
    stream.push(chunk(64 * 1024, pushed++));
    assert.equal((await chunks.next()).value?.[0], 0);
    while (!stream.isPaused()) {
      stream.push(chunk(64 * 1024, pushed++));
      await new Promise((resolve) => setImmediate(resolve));
      assert.ok(pushed < 10, "stops the stream");
    }
    for (let taken = 1; taken < pushed; taken++) assert.equal((await chunks.next()).value?.[0], taken);
    assert.equal(stream.isPaused(), false);
  });

  it("that brings nothing for its time is refused, however often it was looked at before", async () => {
    const { stream, timers, body } = opened();
    const chunks = body[Symbol.asyncIterator]();
    const first = chunks.next();
    for (let check = 0; check < 4; check++) timers.elapse();
    stream.push(chunk(10, 1));
    await first;
    for (let check = 0; check < 20; check++) timers.elapse();
    const second = chunks.next();
    for (let check = 0; check < 4; check++) timers.elapse();
    stream.push(chunk(10, 2));
    assert.equal((await second).value?.[0], 2);
    const third = chunks.next();
    for (let check = 0; check < 5; check++) timers.elapse();
    await assert.rejects(third, /no byte of the body came for 1000 ms/);
  });

  it("that breaks off still gives what came before", async () => {
    const { stream, body } = opened();
    const chunks = body[Symbol.asyncIterator]();
    stream.push(chunk(10, 1));
    await new Promise((resolve) => setImmediate(resolve));
    stream.destroy();
    await new Promise((resolve) => stream.once("close", resolve));
    assert.equal((await chunks.next()).value?.[0], 1);
    await assert.rejects(chunks.next(), /broke off/);
  });

  it("leaves the stream open when its reader stops early", async () => {
    const { stream, body } = opened();
    stream.push(chunk(10, 1));
    for await (const _first of body) break;
    assert.deepEqual([stream.destroyed, stream.isPaused(), stream.listenerCount("data")], [false, true, 0]);
  });

  it("that is abandoned ends for whoever waits, and lets the rest flow", async () => {
    const { stream, body } = opened();
    const waiting = body[Symbol.asyncIterator]().next();
    body.abandon();
    await assert.rejects(waiting, /broke off/);
    stream.resume();
    stream.push(chunk(10, 1));
    stream.push(null);
    await new Promise((resolve) => stream.once("end", resolve));
  });
});
