import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createManualTime } from "./manual-time.ts";

describe("createManualTime", () => {
  it("runs what falls due in order of time, then of registration, at the right time", async () => {
    const { clock, timers, advance } = createManualTime(1_000);
    const seen: string[] = [];
    const note = (name: string) => () => void seen.push(`${name}@${clock.now()}`);
    timers.after(20, note("b"));
    timers.after(10, note("a"));
    timers.after(20, note("c"));
    timers.every(15, note("e"));
    await advance(30);
    assert.deepEqual(seen, ["a@1010", "e@1015", "b@1020", "c@1020", "e@1030"]);
    assert.equal(clock.now(), 1_030);
    assert.equal(clock.monotonic(), 30);
  });

  it("lets promise reactions set new timers that fall due within the same advance", async () => {
    const { clock, timers, advance } = createManualTime(0);
    const seen: number[] = [];
    const loop = (async () => {
      for (let i = 0; i < 3; i++) {
        await timers.sleep(10);
        seen.push(clock.now());
      }
    })();
    await advance(30);
    await loop;
    assert.deepEqual(seen, [10, 20, 30]);
  });

  it("forgets what was disposed or aborted", async () => {
    const { timers, advance, pending } = createManualTime(0);
    const handles = [timers.after(5, assert.fail), timers.every(5, assert.fail)];
    const controller = new AbortController();
    const slept = assert.rejects(timers.sleep(5, { signal: controller.signal }), { message: "stop" });
    for (const handle of handles) handle[Symbol.dispose]();
    controller.abort(new Error("stop"));
    await slept;
    assert.equal(pending(), 0);
    await advance(10);
  });

  it("skews the wall clock alone", async () => {
    const { clock, advance } = createManualTime(1_000);
    clock.skew(-500);
    await advance(1);
    assert.equal(clock.now(), 501);
    assert.equal(clock.monotonic(), 1);
  });
});
