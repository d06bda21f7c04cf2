import assert from "node:assert/strict";
import { test } from "node:test";
import type { Bulletin } from "@meridian/eventlog";
import { systemRandom, type Timers } from "@meridian/runtime";
import { decodeAnnouncement } from "./announcement.ts";
import { BulletinExchange } from "./bulletin-exchange.ts";
import { Lives } from "./lives.ts";
import { Positions } from "./positions.ts";
import { createManualClock, createRecordingLogger } from "./simulated-site.ts";

const INCARNATION = { created: 1n, id: "eu-1" };
const at = (sequence: number) => ({ incarnation: INCARNATION, sequence });

/** A site's bulletin, clock and timers in the hands of the test: messages arrive within the turn, ticks when asked for. */
function createWorld() {
  const clock = createManualClock();
  const listeners = new Map<string, (payload: Uint8Array) => void>();
  const ticks = new Map<string, () => void>();
  const cut = new Set<string>();
  const bulletinOf = (name: string): Bulletin => ({
    publish(_subject, payload) {
      if (cut.has(name)) return;
      for (const [listener, hear] of listeners) if (!cut.has(listener)) queueMicrotask(() => hear(payload));
    },
    async *subscribe(_subject, { signal }) {
      const queue: Uint8Array[] = [];
      let wake = (): void => {};
      listeners.set(name, (payload) => {
        queue.push(payload);
        wake();
      });
      signal.addEventListener("abort", () => wake());
      while (!signal.aborted) {
        const next = queue.shift();
        if (next !== undefined) yield next;
        else await new Promise<void>((resolve) => (wake = resolve));
      }
      listeners.delete(name);
    },
  });
  const timersOf = (name: string): Timers => ({
    sleep: (_ms, { signal } = {}) =>
      new Promise((resolve) => {
        if (signal?.aborted) resolve();
        signal?.addEventListener("abort", () => resolve());
      }),
    after: () => ({ [Symbol.dispose]: () => {} }),
    every: (_ms, run) => {
      ticks.set(name, run);
      return { [Symbol.dispose]: () => void ticks.delete(name) };
    },
  });
  const settle = async (): Promise<void> => {
    for (let turn = 0; turn < 20; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
  };
  return {
    cut,
    clock,
    settle,
    /** Lets time pass, a heartbeat at a time. */
    async pass(ms: number): Promise<void> {
      for (let passed = 0; passed < ms; passed += 250) {
        clock.advance(250);
        for (const tick of [...ticks.values()]) tick();
        await settle();
      }
    },
    async join(name: string, { serving = true, folded = 0, process = name } = {}) {
      const positions = new Positions(new Lives());
      if (folded > 0) positions.set("eu", at(folded));
      const exchange = new BulletinExchange({
        site: "eu",
        process,
        serving,
        bulletin: bulletinOf(name),
        positions,
        caughtUp: () => true,
        clock,
        timers: timersOf(name),
        random: systemRandom,
        log: createRecordingLogger(),
      });
      await settle();
      const fold = (sequence: number): void => {
        positions.set("eu", at(sequence));
        exchange.moved();
      };
      return { exchange, fold };
    },
  };
}

/** The state of a promise after the turn's work. */
async function stateOf(promise: Promise<unknown>, settle: () => Promise<void>): Promise<string> {
  let state = "pending";
  promise.then(
    () => (state = "done"),
    () => (state = "failed"),
  );
  await settle();
  return state;
}

const never = new AbortController().signal;

test("a write is answered when every live gateway has folded it", async () => {
  const world = createWorld();
  const a = await world.join("a");
  const b = await world.join("b");
  await world.pass(1_000);
  assert.equal(a.exchange.confirmed && b.exchange.confirmed, true);
  a.fold(5);
  const answered = a.exchange.untilFolded(at(5), never);
  assert.equal(await stateOf(answered, world.settle), "pending");
  b.fold(4);
  assert.equal(await stateOf(answered, world.settle), "pending");
  b.fold(5);
  assert.equal(await stateOf(answered, world.settle), "done");
  assert.deepEqual(a.exchange.othersFolded("eu"), [at(5)]);
});

test("a gateway that is cut off is out before writers leave it out", async () => {
  const world = createWorld();
  const a = await world.join("a");
  const b = await world.join("b");
  await world.pass(1_000);
  world.cut.add("b");
  a.fold(5);
  const answered = a.exchange.untilFolded(at(5), never);
  let outAfter = 0;
  let answeredAfter = 0;
  for (let ms = 250; ms <= 2_500; ms += 250) {
    await world.pass(250);
    if (!b.exchange.confirmed) outAfter ||= ms;
    if ((await stateOf(answered, world.settle)) === "done") answeredAfter ||= ms;
  }
  assert.ok(outAfter > 0 && outAfter <= 1_000, `out after ${outAfter}`);
  assert.ok(answeredAfter > outAfter && answeredAfter <= 2_000, `answered after ${answeredAfter}`);
  assert.equal(a.exchange.confirmed, true);
});

test("after a cut a gateway is back only when it has folded what was answered meanwhile", async () => {
  const world = createWorld();
  const a = await world.join("a");
  const b = await world.join("b");
  await world.pass(1_000);
  world.cut.add("b");
  await world.pass(2_000);
  a.fold(7);
  await a.exchange.untilFolded(at(7), never);
  world.cut.delete("b");
  await world.pass(1_500);
  assert.equal(b.exchange.confirmed, false, "ready although it has not folded what the others answered");
  b.fold(7);
  await world.pass(250);
  assert.equal(b.exchange.confirmed, true);
});

test("a starting gateway is waited for before it is ready, and ready only past the others' heads", async () => {
  const world = createWorld();
  const a = await world.join("a", { folded: 9 });
  await world.pass(1_000);
  const b = await world.join("b", { folded: 3 });
  assert.equal(b.exchange.confirmed, false);
  const answered = a.exchange.untilFolded(at(9), never);
  assert.equal(await stateOf(answered, world.settle), "pending", "a writer did not wait for a gateway that it lists");
  await world.pass(1_000);
  assert.equal(b.exchange.confirmed, false);
  b.fold(9);
  await world.pass(250);
  assert.equal(b.exchange.confirmed, true);
  await answered;
});

test("a stopping gateway unlists itself, one that starts again takes its predecessor's place", async () => {
  const world = createWorld();
  const a = await world.join("a");
  const b = await world.join("b");
  await world.pass(1_000);
  const left = a.exchange.untilFolded(at(1), never);
  assert.equal(await stateOf(left, world.settle), "pending");
  await b.exchange[Symbol.asyncDispose]();
  assert.equal(await stateOf(left, world.settle), "done");
  const c = await world.join("c");
  await world.pass(1_000);
  assert.equal(a.exchange.othersFolded("eu").length, 1);
  world.cut.add("c");
  await world.join("c-again", { process: "c", folded: 1 });
  assert.equal(a.exchange.othersFolded("eu").length, 1);
  assert.equal(c.exchange.confirmed, true);
});

test("a process that only writes waits for the gateways and is not waited for", async () => {
  const world = createWorld();
  const a = await world.join("a");
  const replicator = await world.join("replicator", { serving: false });
  await world.pass(1_000);
  assert.deepEqual(a.exchange.othersFolded("eu"), []);
  const answered = replicator.exchange.untilFolded(at(2), never);
  assert.equal(await stateOf(answered, world.settle), "pending");
  a.fold(2);
  assert.equal(await stateOf(answered, world.settle), "done");
});

test("what is no announcement is refused", () => {
  assert.throws(() => decodeAnnouncement(Buffer.from("hello")), { kind: "invalid" });
  assert.throws(() => decodeAnnouncement(Buffer.from('{"format":2}')), { kind: "invalid" });
});
