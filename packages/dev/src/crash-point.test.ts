import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createCrashPoint } from "./crash-point.ts";

describe("a crash point", () => {
  test("lets everything pass until it is armed, then only what is not its step", () => {
    let deaths = 0;
    const point = createCrashPoint(() => void deaths++);
    point.reached("after the rename");
    point.arm("after the rename", 0);
    point.reached("before the rename");
    assert.equal(deaths, 0);
    point.reached("after the rename");
    assert.equal(deaths, 1);
  });

  test("lets its step pass as often as it is told", () => {
    let deaths = 0;
    const point = createCrashPoint(() => void deaths++);
    point.arm("before the answer", 2);
    for (const expected of [0, 0, 1]) {
      point.reached("before the answer");
      assert.equal(deaths, expected);
    }
  });

  test("is armed with a step that there is, and a count that is one", () => {
    const point = createCrashPoint(() => assert.fail("not armed"));
    assert.throws(() => point.arm("after lunch", 0), /crashAt: one of temporary file written, /);
    for (const skip of [-1, 0.5, "1", 1e9]) assert.throws(() => point.arm("before the rename", skip), /skip: /);
    point.reached("before the rename");
  });
});
