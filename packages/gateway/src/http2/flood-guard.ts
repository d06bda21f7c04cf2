import type { Clock } from "@meridian/runtime";
import { ConnectionError, ErrorCode } from "./errors.ts";

/** Frames that bring nothing, beyond which a client is cut off: so many at once, and so many a second. */
const BURST = 1_000;
const PER_SECOND = 100;

/**
 * Counts what costs a client nothing and us something: pings, settings, priorities, streams that it resets, empty frames.
 */
export class FloodGuard {
  readonly #clock: Clock;
  #left = BURST;
  #countedAt: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#countedAt = clock.monotonic();
  }

  /** @throws ConnectionError when it is one too many. */
  count(): void {
    const now = this.#clock.monotonic();
    this.#left = Math.min(BURST, this.#left + ((now - this.#countedAt) / 1000) * PER_SECOND) - 1;
    this.#countedAt = now;
    if (this.#left < 0) throw new ConnectionError(ErrorCode.enhanceYourCalm, "a flood of frames that bring nothing");
  }
}
