import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createManualTime } from "@meridian/runtime";
import fc from "fast-check";
import { limitStoreContract } from "../contract.ts";
import { createLocalStore } from "./local-store.ts";
import { RateLimiter } from "./rate-limiter.ts";

limitStoreContract("local", async () => {
  const time = createManualTime(0);
  const store = createLocalStore(time);
  return {
    store,
    other: store,
    pass: (ms) => time.advance(ms),
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
});

describe("the local store", () => {
  test("forgets what was not used lately rather than grow", async () => {
    const time = createManualTime(0);
    const store = createLocalStore({ clock: time.clock, capacity: 100 });
    const rule = { forgetAfterMs: 1e9 };
    const terms = { max: 1, ttlMs: 1e9 };
    for (let n = 0; n < 10_000; n++) {
      assert.equal(await store.addFailure("used", rule), n + 1, "what is used is kept");
      await store.addFailure(`seen once ${n}`, rule);
      await store.takeLease(`${n}`, "lease", terms);
      await store.keepNote(`${n}`, "note", { ttlMs: 1e9 });
    }
    assert.equal(await store.addFailure("seen once 0", rule), 1, "the oldest was not forgotten");
    assert.equal(await store.readNote("0"), undefined);
    assert.equal(await store.takeLease("0", "another", terms), true);
    assert.equal(await store.readNote("9999"), "note");
  });
});

describe("the rate limiter of a process", () => {
  test("holds a bounded number of keys", () => {
    const limiter = new RateLimiter({
      rate: { perSecond: 1, burst: 1 },
      clock: { monotonic: () => 0 },
      capacity: 100,
    });
    for (let n = 0; n < 10_000; n++) limiter.take(`${n}`);
    assert.ok(limiter.size <= 100, `${limiter.size} keys`);
    assert.ok(limiter.take("9999") > 0, "the latest was forgotten");
  });

  test("never gives more than burst + rate × time, and always that much to who waits as told", () => {
    const rate = fc.record({ perSecond: fc.integer({ min: 1, max: 1000 }), burst: fc.integer({ min: 1, max: 50 }) });
    fc.assert(
      fc.property(
        rate,
        fc.array(fc.integer({ min: 0, max: 500 }), { maxLength: 200 }),
        ({ perSecond, burst }, gaps) => {
          let now = 0;
          const limiter = new RateLimiter({ rate: { perSecond, burst }, clock: { monotonic: () => now } });
          let given = 0;
          for (const gap of gaps) {
            now += gap;
            const waitMs = limiter.take("a");
            if (waitMs === 0) given += 1;
            assert.ok(given <= burst + (perSecond * now) / 1000 + 1e-3, `${given} within ${now} ms`);
            if (waitMs === 0) continue;
            now += waitMs;
            assert.equal(limiter.take("a"), 0, "it was not there when it was said to be");
            given += 1;
          }
        },
      ),
    );
  });
});
