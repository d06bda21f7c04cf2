import assert from "node:assert/strict";
import { test } from "node:test";
import type { LimitBench } from "./limit-bench.ts";

const TERMS = { max: 2, ttlMs: 60_000 };

export function leaseCases(make: () => Promise<LimitBench>): void {
  test("a key holds so many leases and no more, until one is given back", async () => {
    await using bench = await make();
    const { store, other } = bench;
    assert.equal(await store.takeLease("a", "1", TERMS), true);
    assert.equal(await other.takeLease("a", "2", TERMS), true);
    assert.equal(await store.takeLease("a", "3", TERMS), false);
    assert.equal(await other.takeLease("b", "3", TERMS), true, "another key has its own");
    await store.releaseLease("a", "never taken");
    assert.equal(await store.takeLease("a", "3", TERMS), false);
    await other.releaseLease("a", "1");
    assert.equal(await other.takeLease("a", "3", TERMS), true);
    assert.equal(await other.takeLease("a", "4", TERMS), false);
  });

  test("a lease that is held is prolonged, though the key holds as many as it may", async () => {
    await using bench = await make();
    const { store } = bench;
    const terms = { max: 1, ttlMs: 1_000 };
    assert.equal(await store.takeLease("a", "1", terms), true);
    await bench.pass(600);
    assert.equal(await store.takeLease("a", "1", terms), true);
    await bench.pass(600);
    assert.equal(await store.takeLease("a", "2", terms), false, "it was not prolonged");
    await bench.pass(450);
    assert.equal(await store.takeLease("a", "2", terms), true, "it did not end by itself");
    assert.equal(await store.takeLease("a", "1", terms), false, "it came back though another holds now");
  });

  test("leases taken at the same time never are too many", async () => {
    await using bench = await make();
    const terms = { max: 7, ttlMs: 60_000 };
    const taken = await Promise.all(
      Array.from({ length: 50 }, (_, n) => (n % 2 === 0 ? bench.store : bench.other).takeLease("a", `${n}`, terms)),
    );
    assert.equal(taken.filter(Boolean).length, 7);
  });
}
