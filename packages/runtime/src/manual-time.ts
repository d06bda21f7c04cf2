import type { SystemClock } from "./clock.ts";
import type { Timers } from "./timers.ts";

/** A clock and timers that move only when told, for simulations and tests. */
export interface ManualTime {
  readonly clock: SystemClock;
  readonly timers: Timers;
  /**
   * Moves time on by `ms` milliseconds, running what falls due in order of time, then of registration; after each, lets
   * all promise reactions run before the next, so that one run equals another.
   */
  advance(ms: number): Promise<void>;
  /** How many timers wait. */
  pending(): number;
}

interface Entry {
  readonly due: number;
  readonly run: () => void;
}

/** Starts at `startMs` milliseconds since the Unix epoch; the monotonic clock starts at 0. */
export function createManualTime(startMs: number): ManualTime {
  const waiting = new Set<Entry>();
  let elapsed = 0;
  let skew = 0;

  function schedule(ms: number, run: () => void): Disposable {
    const entry = { due: elapsed + Math.max(0, ms), run };
    waiting.add(entry);
    return { [Symbol.dispose]: () => void waiting.delete(entry) };
  }

  async function advance(ms: number): Promise<void> {
    const target = elapsed + ms;
    await settle();
    for (let next = earliest(waiting, target); next !== undefined; next = earliest(waiting, target)) {
      waiting.delete(next);
      elapsed = Math.max(elapsed, next.due);
      next.run();
      await settle();
    }
    elapsed = target;
  }

  return {
    clock: {
      now: () => startMs + elapsed + skew,
      monotonic: () => elapsed,
      skew: (offsetMs) => {
        skew = offsetMs;
      },
    },
    timers: manualTimers(schedule),
    advance,
    pending: () => waiting.size,
  };
}

function manualTimers(schedule: (ms: number, run: () => void) => Disposable): Timers {
  return {
    sleep: (ms, { signal } = {}) =>
      new Promise((resolve, reject) => {
        if (signal?.aborted) {
          reject(signal.reason);
          return;
        }
        const timer = schedule(ms, () => {
          signal?.removeEventListener("abort", onAbort);
          resolve();
        });
        const onAbort = (): void => {
          timer[Symbol.dispose]();
          reject(signal?.reason);
        };
        signal?.addEventListener("abort", onAbort, { once: true });
      }),
    after: schedule,
    every(ms, run) {
      let timer: Disposable;
      // A period of 0 would never let time move on.
      const again = (): Disposable =>
        schedule(Math.max(1, ms), () => {
          timer = again();
          run();
        });
      timer = again();
      return { [Symbol.dispose]: () => timer[Symbol.dispose]() };
    },
  };
}

function earliest(waiting: ReadonlySet<Entry>, until: number): Entry | undefined {
  let first: Entry | undefined;
  for (const entry of waiting) {
    if (entry.due > until) continue;
    // A Set keeps the order of registration, so an equal time never replaces an earlier entry.
    if (first === undefined || entry.due < first.due) first = entry;
  }
  return first;
}

/** A turn of the event loop: every promise reaction has run before it. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
