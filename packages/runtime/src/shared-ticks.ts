import { AsyncLocalStorage } from "node:async_hooks";

/** Calls that are due within this many milliseconds are made in the same wake-up. */
const SLACK_MS = 20;

interface Period {
  readonly ms: number;
  readonly run: () => void;
  due: number;
}

/**
 * Periodic calls that share their wake-ups: every period ticks at multiples of itself on one clock, so an idle process
 * with twenty of them wakes a few times a second, not thirty times. Nothing here keeps the process alive.
 */
export class SharedTicks {
  readonly #periods = new Set<Period>();
  readonly #now: () => number;
  #timer: NodeJS.Timeout | undefined;
  #wakesAt = Number.POSITIVE_INFINITY;

  /** `now`: monotonic milliseconds. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Calls `run` every `ms` milliseconds, for the first time after between a half and one and a half of them. */
  every(ms: number, run: () => void): Disposable {
    // In the caller's context, as setInterval would: not in that of whoever set the timer.
    const period = { ms, run: AsyncLocalStorage.bind(run), due: nextDue(ms, this.#now() + ms / 2) };
    this.#periods.add(period);
    this.#schedule();
    return { [Symbol.dispose]: () => this.#remove(period) };
  }

  #remove(period: Period): void {
    this.#periods.delete(period);
    if (this.#periods.size > 0) return;
    clearTimeout(this.#timer);
    this.#wakesAt = Number.POSITIVE_INFINITY;
  }

  #schedule(): void {
    let earliest = Number.POSITIVE_INFINITY;
    for (const { due } of this.#periods) earliest = Math.min(earliest, due);
    if (earliest >= this.#wakesAt) return;
    clearTimeout(this.#timer);
    this.#wakesAt = earliest;
    this.#timer = setTimeout(() => this.#wake(), Math.ceil(earliest - this.#now())).unref();
  }

  #wake(): void {
    this.#wakesAt = Number.POSITIVE_INFINITY;
    const now = this.#now() + SLACK_MS;
    for (const period of this.#periods) {
      if (period.due > now) continue;
      period.due = nextDue(period.ms, now);
      call(period.run);
    }
    if (this.#periods.size > 0) this.#schedule();
  }
}

/** The first multiple of the period after `after`. */
function nextDue(ms: number, after: number): number {
  return (Math.floor(after / ms) + 1) * ms;
}

/** What it throws is as uncaught as from a timer of its own, and stops no other call. */
function call(run: () => void): void {
  try {
    run();
  } catch (error) {
    process.nextTick(() => {
      throw error;
    });
  }
}
