import type { Random, Timers } from "@meridian/runtime";

/** Waits that double from `firstMs` to `maxMs`, each shortened at random by up to a half so that peers do not move in step. */
export class BackOff {
  readonly #firstMs: number;
  readonly #maxMs: number;
  readonly #timers: Timers;
  readonly #random: Random;
  #nextMs: number;

  constructor(options: { firstMs: number; maxMs: number; timers: Timers; random: Random }) {
    this.#firstMs = options.firstMs;
    this.#maxMs = options.maxMs;
    this.#timers = options.timers;
    this.#random = options.random;
    this.#nextMs = options.firstMs;
  }

  /** The next wait is the first one again. */
  reset(): void {
    this.#nextMs = this.#firstMs;
  }

  /** Rejects with the signal's reason when it aborts first. */
  async wait(signal: AbortSignal): Promise<void> {
    const ms = this.#nextMs * (1 - this.#random.next() / 2);
    this.#nextMs = Math.min(this.#nextMs * 2, this.#maxMs);
    await this.#timers.sleep(ms, { signal });
  }
}
