import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setImmediate as endOfTurn } from "node:timers/promises";
import { TurnOfAnswers } from "./turn-of-answers.ts";

describe("the answers of a turn", () => {
  const holdMany = (turn: TurnOfAnswers, count: number, released: number[]): void => {
    for (let i = 0; i < count; i++) turn.hold({ release: () => void released.push(i) });
  };

  it("leave at its end, in their order, once", async () => {
    const turn = new TurnOfAnswers();
    const released: number[] = [];
    for (let again = 0; again < 2; again++) {
      released.length = 0;
      holdMany(turn, 3, released);
      await Promise.resolve();
      assert.deepEqual(released, []);
      await endOfTurn();
      assert.deepEqual(released, [0, 1, 2]);
    }
    await endOfTurn();
    assert.equal(released.length, 3);
  });

  it("leave before its end where there are many, and the rest at its end", async () => {
    const turn = new TurnOfAnswers();
    const released: number[] = [];
    holdMany(turn, 70, released);
    assert.equal(released.length, 64);
    await endOfTurn();
    assert.equal(released.length, 70);
  });
});
