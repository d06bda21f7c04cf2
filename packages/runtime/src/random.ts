import { randomBytes } from "node:crypto";

/** Chance, passed in wherever it matters, so that simulations own it. */
export interface Random {
  /** A number in [0, 1). */
  next(): number;
  /** Unpredictable bytes. */
  bytes(length: number): Uint8Array;
}

export const systemRandom: Random = {
  next: () => Math.random(),
  bytes: (length) => randomBytes(length),
};
