import { GenerationCache } from "@meridian/policy";
import type { Clock } from "@meridian/runtime";

const FIRST_DELAY_MS = 250;
/** Together with the check this stays below the 5 s that a token request may take. */
const MAX_DELAY_MS = 3_000;
const FORGET_AFTER_MS = 600_000;
const MAX_TRACKED = 50_000;

interface Failures {
  readonly count: number;
  readonly lastAt: number;
}

/** Slows answers to wrong passwords, per user and address. A correct password is never delayed or refused. */
export class LoginThrottle {
  readonly #clock: Clock;
  readonly #failures = new GenerationCache<string, Failures>(MAX_TRACKED);

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Counts a wrong password. Answers how long to hold back the refusal, in milliseconds. */
  failed(user: string, address: string): number {
    const key = `${user}\0${address}`;
    const now = this.#clock.monotonic();
    const known = this.#failures.get(key);
    const count = known && now - known.lastAt < FORGET_AFTER_MS ? known.count + 1 : 1;
    this.#failures.set(key, { count, lastAt: now });
    return Math.min(MAX_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(count - 1, 10));
  }

  /** Forgets the failures: the right password was given. */
  succeeded(user: string, address: string): void {
    this.#failures.delete(`${user}\0${address}`);
  }
}
