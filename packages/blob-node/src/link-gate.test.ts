import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import type { LinkRules } from "@meridian/cluster";
import { createManualTime } from "@meridian/runtime";
import { LinkGate } from "./link-gate.ts";

function gateOf(rules: LinkRules, { sharers = 1, now = "12:00" } = {}) {
  const time = createManualTime(Date.parse(`2026-08-01T${now}:00Z`));
  const gate = new LinkGate({ rules, sharers: () => sharers, ...time });
  const passed: string[] = [];
  const ask = (name: string, bytes: number, isPull = false, signal?: AbortSignal) =>
    gate
      .pass("us", bytes, () => isPull, signal)
      ?.then(
        () => void passed.push(name),
        () => void passed.push(`${name} gave up`),
      );
  return { time, gate, passed, ask };
}

describe("a link's rate", () => {
  it("lets so many bytes pass a second, the site's nodes together", async () => {
    const { time, passed, ask } = gateOf({ us: { maxBytesPerSecond: 2_000 } }, { sharers: 2 });
    void ask("one", 1_000);
    void ask("two", 500);
    await time.advance(999);
    assert.deepEqual(passed, []);
    await time.advance(1);
    assert.deepEqual(passed, ["one"]);
    await time.advance(499);
    assert.deepEqual(passed, ["one"]);
    await time.advance(2);
    assert.deepEqual(passed, ["one", "two"]);
  });

  it("is first for what a client waits for", async () => {
    const { time, passed, ask } = gateOf({ us: { maxBytesPerSecond: 1_000 } });
    void ask("background 1", 1_000);
    void ask("background 2", 1_000);
    void ask("pull", 1_000, true);
    await time.advance(3_001);
    assert.deepEqual(passed, ["background 1", "pull", "background 2"]);
  });

  it("is not spent on what is given up", async () => {
    const { time, passed, ask } = gateOf({ us: { maxBytesPerSecond: 1_000 } });
    const stop = new AbortController();
    void ask("first", 1_000);
    void ask("given up", 60_000, false, stop.signal);
    void ask("last", 1_000);
    stop.abort(new Error("enough"));
    await turn();
    assert.deepEqual(passed, ["given up gave up"]);
    await time.advance(2_001);
    assert.deepEqual(passed, ["given up gave up", "first", "last"]);
  });

  it("costs a site without one nothing", () => {
    const { gate } = gateOf({ us: { maxBytesPerSecond: 1_000 } });
    assert.equal(
      gate.pass("ap", 1e9, () => false),
      undefined,
    );
  });
});

describe("a link's window", () => {
  it("holds layers back that nobody waits for, and nothing else", () => {
    const rules = { us: { windows: ["22:00-06:00"] as [string, ...string[]] } };
    const { gate } = gateOf(rules);
    assert.equal(gate.isOpen("us", "background"), false);
    assert.ok(gate.isOpen("us", "pull") && gate.isOpen("us", "metadata") && gate.isOpen("ap", "background"));
    assert.ok(gateOf(rules, { now: "23:00" }).gate.isOpen("us", "background"));
  });
});
