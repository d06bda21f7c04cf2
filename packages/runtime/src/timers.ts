import { SharedTicks } from "./shared-ticks.ts";

/** Waiting, passed in wherever it matters, so that simulations own it. `after` and `every` never keep the process alive. */
export interface Timers {
  /** Resolves after `ms` milliseconds. Rejects with the signal's reason when it aborts first. */
  sleep(ms: number, options?: { signal?: AbortSignal }): Promise<void>;
  /** Calls `run` once after `ms` milliseconds, unless the returned handle is disposed first. */
  after(ms: number, run: () => void): Disposable;
  /**
   * Calls `run` every `ms` milliseconds until the returned handle is disposed. The first call may come up to half a
   * period earlier or later, so that periods share their wake-ups.
   */
  every(ms: number, run: () => void): Disposable;
}

/** Shorter periods measure something and get a timer of their own. */
const SHARED_FROM_MS = 250;
const shared = new SharedTicks(() => performance.now());

export const systemTimers: Timers = {
  sleep(ms, { signal } = {}) {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason);
        return;
      }
      const onAbort = (): void => {
        cancel();
        reject(signal?.reason);
      };
      const cancel = startTimer(ms, () => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      });
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  },
  after(ms, run) {
    const timer = setTimeout(run, ms).unref();
    return { [Symbol.dispose]: () => clearTimeout(timer) };
  },
  every(ms, run) {
    if (ms >= SHARED_FROM_MS) return shared.every(ms, run);
    const timer = setInterval(run, ms).unref();
    return { [Symbol.dispose]: () => clearInterval(timer) };
  },
};

/** Node's shortest time-out is a millisecond: who only lets others have a turn does not wait for it. */
function startTimer(ms: number, run: () => void): () => void {
  if (ms <= 0) {
    const immediate = setImmediate(run);
    return () => clearImmediate(immediate);
  }
  const timer = setTimeout(run, ms);
  return () => clearTimeout(timer);
}
