import type { Clock, Timers } from "@meridian/runtime";

/** Lets no more than a number of things pass in a second. */
export class Pacer {
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #perSecond: () => number;
  #mayPassAt = Number.NEGATIVE_INFINITY;

  /** `perSecond` is asked each time: it may change. */
  constructor({ clock, timers, perSecond }: { clock: Clock; timers: Timers; perSecond: () => number }) {
    this.#clock = clock;
    this.#timers = timers;
    this.#perSecond = perSecond;
  }

  /** To be called once `count` things have passed; resolves when the next may. */
  async passed(count: number, signal: AbortSignal): Promise<void> {
    const now = this.#clock.monotonic();
    this.#mayPassAt = Math.max(this.#mayPassAt, now - 1_000) + (count / this.#perSecond()) * 1_000;
    await this.#timers.sleep(Math.max(0, this.#mayPassAt - now), { signal });
  }
}
