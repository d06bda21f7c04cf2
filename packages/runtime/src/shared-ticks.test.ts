import assert from "node:assert/strict";
import { AsyncLocalStorage } from "node:async_hooks";
import { once } from "node:events";
import { describe, mock, test } from "node:test";
import { SharedTicks } from "./shared-ticks.ts";

/** Real timers on a clock that only they move. */
function ticksByHand() {
  mock.timers.enable({ apis: ["setTimeout"] });
  let now = 1_000;
  let wakes = 0;
  const ticks = new SharedTicks(() => now);
  const advance = (ms: number): void => {
    for (let passed = 0; passed < ms; passed += 1) {
      now += 1;
      const before = calls;
      mock.timers.tick(1);
      if (calls !== before) wakes += 1;
    }
  };
  let calls = 0;
  const counted = (run: () => void) => () => {
    calls += 1;
    run();
  };
  return { ticks, advance, counted, wakes: () => wakes, now: () => now, [Symbol.dispose]: () => mock.timers.reset() };
}

describe("shared ticks", () => {
  test("twenty periods begun at any time wake the process four times a second, each at its own rate", () => {
    using hand = ticksByHand();
    const counts = new Map<number, number>();
    for (let index = 0; index < 20; index += 1) {
      const ms = [250, 500, 750, 1_000][index % 4]!;
      hand.ticks.every(
        ms,
        hand.counted(() => counts.set(ms, (counts.get(ms) ?? 0) + 1)),
      );
      hand.advance(13);
    }
    hand.advance(2_000);
    const [wakes, quarter, second] = [hand.wakes(), counts.get(250)!, counts.get(1_000)!];
    hand.advance(6_000);
    assert.equal(hand.wakes() - wakes, 24);
    assert.equal(counts.get(250)! - quarter, 24 * 5);
    assert.equal(counts.get(1_000)! - second, 6 * 5);
  });

  test("the first call comes after half to one and a half periods, the others a period later", () => {
    for (const late of [0, 100, 130, 249]) {
      using hand = ticksByHand();
      hand.advance(late);
      const begun = hand.now();
      const at: number[] = [];
      hand.ticks.every(250, () => at.push(hand.now() - begun));
      hand.advance(1_500);
      assert.ok(at[0]! >= 125 && at[0]! <= 375, `${at[0]} ms`);
      assert.deepEqual(
        at.slice(1, 4).map((time, index) => time - at[index]!),
        [250, 250, 250],
      );
    }
  });

  test("a shorter period begun later is not held up by a longer one, and what was disposed is not called", () => {
    using hand = ticksByHand();
    const calls: string[] = [];
    hand.ticks.every(10_000, () => calls.push("long"));
    const short = hand.ticks.every(300, () => {
      calls.push("short");
      if (calls.length === 2) short[Symbol.dispose]();
    });
    hand.advance(3_000);
    assert.deepEqual(calls, ["short", "short"]);
  });

  test("each call runs in the context in which its period was begun", async () => {
    const context = new AsyncLocalStorage<string>();
    const ticks = new SharedTicks(() => performance.now());
    const seen: Array<string | undefined> = [];
    const begin = (): Disposable => ticks.every(20, () => seen.push(context.getStore()));
    using _outside = begin();
    using _inside = context.run("inside", begin);
    while (seen.length < 4) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.deepEqual(new Set(seen), new Set([undefined, "inside"]));
  });

  test("a call that throws is uncaught, and the others are made", async () => {
    const script = `
      const { SharedTicks } = await import(${JSON.stringify(import.meta.resolve("./shared-ticks.ts"))});
      const ticks = new SharedTicks(() => performance.now());
      process.on("uncaughtException", (error) => console.log(error.message));
      ticks.every(30, () => { throw new Error("from the first"); });
      let calls = 0;
      ticks.every(30, () => { calls += 1; if (calls === 2) { console.log("second"); process.exit(); } });
      setTimeout(() => {}, 20_000);`;
    const { spawn } = await import("node:child_process");
    const child = spawn(process.execPath, ["--input-type=module", "--eval", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => {
      output += chunk;
    });
    await once(child, "close");
    assert.deepEqual(output.trim().split("\n"), ["from the first", "second"]);
  });
});
