import { randomInt } from "node:crypto";

/** Numbers that repeat with their seed: MERIDIAN_SEED, else a new one; tests print it. */
export interface Seeded {
  readonly seed: number;
  /** At least `from`, less than `to`. */
  integer(from: number, to: number): number;
  pick<T>(choices: readonly T[]): T;
}

export function seeded(seed = Number(process.env.MERIDIAN_SEED ?? randomInt(1, 2 ** 31))): Seeded {
  // mulberry32, public domain.
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const integer = (from: number, to: number): number => from + Math.floor(next() * (to - from));
  return {
    seed,
    integer,
    pick(choices) {
      const chosen = choices[integer(0, choices.length)];
      if (chosen === undefined) throw new Error("nothing to pick from");
      return chosen;
    },
  };
}
