import assert from "node:assert/strict";
import { test } from "node:test";
import type { LimitBench } from "./limit-bench.ts";

/** Slow, so that a test which is held up for a moment still sees an empty bucket. */
const RATE = { perSecond: 1, burst: 3 };

export function bucketCases(make: () => Promise<LimitBench>): void {
  test("a full bucket gives its burst, then says how long the next token takes", async () => {
    await using bench = await make();
    const { store, other } = bench;
    assert.equal(await store.takeToken("a", RATE), 0);
    assert.equal(await other.takeToken("a", RATE), 0);
    assert.equal(await store.takeToken("a", RATE), 0);
    const waitMs = await store.takeToken("a", RATE);
    assert.ok(waitMs > 0 && waitMs <= 1_000, `${waitMs} ms`);
    assert.equal(await store.takeToken("b", RATE), 0, "another key has a bucket of its own");
  });

  test("a token is there when it was said to be, and a refusal takes none", async () => {
    await using bench = await make();
    const { store } = bench;
    for (let n = 0; n < 3; n++) assert.equal(await store.takeToken("a", RATE), 0);
    let waitMs = 0;
    for (let n = 0; n < 5; n++) waitMs = await store.takeToken("a", RATE);
    assert.ok(waitMs > 0 && waitMs <= 1_000, `${waitMs} ms after five refusals`);
    await bench.pass(waitMs);
    assert.equal(await store.takeToken("a", RATE), 0);
    assert.ok((await store.takeToken("a", RATE)) > 0);
  });

  test("a bucket never holds more than its burst", async () => {
    await using bench = await make();
    const fast = { perSecond: 2, burst: 2 };
    for (let n = 0; n < 2; n++) assert.equal(await bench.store.takeToken("a", fast), 0);
    await bench.pass(1_500);
    for (let n = 0; n < 2; n++) assert.equal(await bench.store.takeToken("a", fast), 0);
    assert.ok((await bench.store.takeToken("a", fast)) > 0);
  });

  test("tokens taken at the same time are never given twice", async () => {
    await using bench = await make();
    const slow = { perSecond: 0.1, burst: 10 };
    const waits = await Promise.all(
      Array.from({ length: 50 }, (_, n) => (n % 2 === 0 ? bench.store : bench.other).takeToken("a", slow)),
    );
    assert.equal(waits.filter((wait) => wait === 0).length, 10);
  });

  test("rates of one key do not disturb each other", async () => {
    await using bench = await make();
    for (let n = 0; n < 3; n++) assert.equal(await bench.store.takeToken("a", RATE), 0);
    assert.equal(await bench.store.takeToken("a", { perSecond: 0.5, burst: 1 }), 0);
    assert.ok((await bench.store.takeToken("a", RATE)) > 0);
  });
}
