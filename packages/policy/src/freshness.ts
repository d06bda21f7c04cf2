import type { Clock } from "@meridian/runtime";

/** How long ago this site last knew that its policy was the home's. Monotonic time, except across a restart. */
export class Freshness {
  readonly #clock: Clock;
  #freshAt = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The policy was the home's at this monotonic time. Never goes back. */
  mark(monotonicMs: number): void {
    this.#freshAt = Math.max(this.#freshAt, monotonicMs);
  }

  /** Takes over what a former process wrote down, in wall-clock milliseconds. */
  restore(wallMs: number): void {
    this.mark(this.#clock.monotonic() - Math.max(0, this.#clock.now() - wallMs));
  }

  /** Milliseconds; Infinity when the home was never heard of. */
  ageMs(): number {
    return Math.max(0, this.#clock.monotonic() - this.#freshAt);
  }
}
