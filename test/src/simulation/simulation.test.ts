import assert from "node:assert/strict";
import { test } from "node:test";
import { simulate } from "./run.ts";
import { shrink, simulateMany } from "./seeds.ts";

/** The same seeds each time: what a run by hand finds becomes a test of its own (CONTRIBUTING.md). */
const SEEDS = { from: 1, count: 500 };

test("one seed gives one run, to the last event", async () => {
  assert.deepEqual(await simulate(7), await simulate(7));
});

test("three sites keep every promise through deaths, cuts, delays and wrong clocks", async (t) => {
  const { tally, violations } = await simulateMany(SEEDS);
  const [first] = violations;
  if (first !== undefined) {
    const { steps, message } = await shrink(first.seed);
    assert.fail(`${violations.length} seeds failed; seed ${first.seed}: ${message}\n${JSON.stringify(steps)}`);
  }
  assert.ok(tally.answered > tally.writes / 2, "most writes are answered");
  assert.ok(tally.deaths > SEEDS.count / 2, "processes die");
  t.diagnostic(JSON.stringify(tally));
});
