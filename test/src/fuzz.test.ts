import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { inspect } from "node:util";
import { allTargets, runBatch, shrink } from "./fuzz/run-targets.ts";

/** The same inputs each time: what a run by hand finds becomes a test of its own (CONTRIBUTING.md). */
const SEED = 20_261_123;

const targets = await allTargets();

describe("parsers stand hostile inputs", () => {
  test("all of those that read what a client sends are tried", () => {
    const names = targets.map(({ name }) => name);
    const wanted = ["reference", "digest", "range", "content-range", "manifest", "location token", "authorization"];
    for (const name of [...wanted, "path", "query", "request head", "HTTP/2 field block", "HTTP/2 frames", "record"])
      assert.ok(names.includes(name), name);
    assert.equal(new Set(names).size, names.length, "two targets have one name");
  });

  for (const target of targets) {
    test(target.name, () => {
      const finding = runBatch(target, SEED);
      if (finding === undefined) return;
      assert.fail(`${inspect(shrink(target, finding))}\n${inspect(finding.error)}`);
    });
  }
});
