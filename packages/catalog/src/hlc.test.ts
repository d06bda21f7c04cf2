import assert from "node:assert/strict";
import { test } from "node:test";
import { compareHlc, createHlcClock, type HlcClock, hlcMs, hlcTime } from "./hlc.ts";
import { createManualClock } from "./simulated-site.ts";

/** A clock over a high-water that counts its writes. */
function clockOver(kept: { time?: bigint; writes: number }, clock = createManualClock(), maxSkewMs = 2_000): HlcClock {
  return createHlcClock({
    clock,
    site: "eu",
    writer: "w",
    maxSkewMs,
    highWater: {
      load: () => kept.time,
      persist: async (time) => {
        kept.time = time;
        kept.writes += 1;
      },
    },
  });
}

test("readings grow, follow the clock, and come after everything observed", async () => {
  const clock = createManualClock();
  await using hlc = clockOver({ writes: 0 }, clock);
  await hlc.prepare();
  const first = hlc.next();
  assert.equal(first.time, hlcTime(clock.now()));
  assert.equal(hlc.next().time, first.time + 1n);
  clock.advance(5);
  const later = hlc.next();
  assert.equal(hlcMs(later.time), clock.now());
  hlc.observe(later.time + 100n);
  assert.equal(hlc.next().time, later.time + 101n);
  assert.equal(hlc.next(later.time + 500n).time, later.time + 501n);
  clock.advance(-1_000);
  assert.equal(hlc.next().time, later.time + 502n, "went back with the machine's clock");
});

test("the high-water is written once for many readings, and a restart goes on above it", async () => {
  const clock = createManualClock();
  const kept: { time?: bigint; writes: number } = { writes: 0 };
  const before = clockOver(kept, clock);
  let last = 0n;
  for (let index = 0; index < 500; index++) {
    await before.prepare();
    last = before.next().time;
    clock.advance(1);
  }
  assert.equal(kept.writes, 1);
  // Killed: nothing was written at the end.
  clock.advance(-2_000);
  const after = clockOver(kept, clock, 10_000);
  await after.prepare();
  assert.ok(after.next().time > last);
});

test("a reading that no high-water covers is refused", () => {
  const hlc = clockOver({ writes: 0 });
  assert.throws(() => hlc.next(), { kind: "unavailable" });
});

test("writes stop while the high-water is more than the allowed skew ahead of the clock", async () => {
  const clock = createManualClock();
  const hlc = clockOver({ time: hlcTime(clock.now() + 5_000), writes: 0 }, clock);
  await assert.rejects(hlc.prepare(), { kind: "unavailable", message: /behind/ });
  clock.advance(4_000);
  await hlc.prepare();
  assert.ok(hlc.next().time > hlcTime(clock.now()));
});

test("a process that is killed again and again does not run ahead of the clock", async () => {
  const clock = createManualClock();
  const kept: { time?: bigint; writes: number } = { writes: 0 };
  for (let run = 0; run < 20; run++) {
    const hlc = clockOver(kept, clock);
    await hlc.prepare();
    hlc.next();
    clock.advance(600);
  }
});

test("readings are ordered by time, then site, then writer", () => {
  const make = (time: bigint, site: string, writer: string) =>
    ({ $typeName: "meridian.record.v1.Hlc", time, site, writer }) as const;
  const sorted = [make(1n, "us", "b"), make(2n, "ap", "z"), make(2n, "eu", "a"), make(2n, "eu", "b")];
  assert.deepEqual([...sorted].reverse().sort(compareHlc), sorted);
});
