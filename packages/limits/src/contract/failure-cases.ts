import assert from "node:assert/strict";
import { test } from "node:test";
import type { LimitBench } from "./limit-bench.ts";

const LONG = { forgetAfterMs: 60_000 };

export function failureCases(make: () => Promise<LimitBench>): void {
  test("failures are counted by key until they are cleared", async () => {
    await using bench = await make();
    const { store, other } = bench;
    assert.equal(await store.addFailure("a", LONG), 1);
    assert.equal(await other.addFailure("a", LONG), 2);
    assert.equal(await store.addFailure("b", LONG), 1);
    assert.equal(await store.addFailure("a", LONG), 3);
    await other.clearFailures("a");
    await other.clearFailures("never there");
    assert.equal(await other.addFailure("a", LONG), 1);
    assert.equal(await other.addFailure("b", LONG), 2);
  });

  test("a series ends after a while without a failure, and each failure makes it last", async () => {
    await using bench = await make();
    const { store } = bench;
    const short = { forgetAfterMs: 1_000 };
    assert.equal(await store.addFailure("a", short), 1);
    await bench.pass(600);
    assert.equal(await store.addFailure("a", short), 2);
    await bench.pass(600);
    assert.equal(await store.addFailure("a", short), 3, "the second failure did not prolong the series");
    await bench.pass(1_050);
    assert.equal(await store.addFailure("a", short), 1);
  });

  test("failures at the same time are all counted", async () => {
    await using bench = await make();
    const counts = await Promise.all(
      Array.from({ length: 100 }, (_, n) => (n % 2 === 0 ? bench.store : bench.other).addFailure("a", LONG)),
    );
    assert.deepEqual(
      counts.sort((one, two) => one - two),
      Array.from({ length: 100 }, (_, n) => n + 1),
    );
  });

  test("keys may hold anything", async () => {
    await using bench = await make();
    const keys = ["", " ", "a b", "a\r\nDEL x\r\n", "\0", "ü🐋", "x".repeat(10_000), "*", "{a}"];
    for (const key of keys) assert.equal(await bench.store.addFailure(key, LONG), 1, JSON.stringify(key));
    for (const key of keys) assert.equal(await bench.other.addFailure(key, LONG), 2, JSON.stringify(key));
  });
}
