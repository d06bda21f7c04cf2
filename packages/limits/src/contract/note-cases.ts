import assert from "node:assert/strict";
import { test } from "node:test";
import type { LimitBench } from "./limit-bench.ts";

const LONG = { ttlMs: 60_000 };

export function noteCases(make: () => Promise<LimitBench>): void {
  test("a note is read back until it runs out; the latest one counts", async () => {
    await using bench = await make();
    const { store, other } = bench;
    assert.equal(await store.readNote("a"), undefined);
    await store.keepNote("a", "one", LONG);
    assert.equal(await other.readNote("a"), "one");
    await store.keepNote("a", "two", { ttlMs: 500 });
    assert.equal(await store.readNote("a"), "two");
    assert.equal(await other.readNote("b"), undefined);
    await bench.pass(550);
    assert.equal(await store.readNote("a"), undefined);
    assert.equal(await other.readNote("a"), undefined);
  });

  test("notes hold any text", async () => {
    await using bench = await make();
    for (const note of ["", "a\r\n$5\r\n", "ü🐋", "x".repeat(5_000)]) {
      await bench.store.keepNote("a", note, LONG);
      assert.equal(await bench.store.readNote("a"), note);
    }
  });
}
