import type { Clock, Timers } from "@meridian/runtime";

/** Time that tests move by hand: a clock and its timers. */
export class ManualTime implements Clock, Timers {
  #now = 0;
  readonly #due = new Set<{ at: number; run: () => void }>();

  now(): number {
    return 1_700_000_000_000 + this.#now;
  }

  monotonic(): number {
    return this.#now;
  }

  after(ms: number, run: () => void): Disposable {
    const timer = { at: this.#now + ms, run };
    this.#due.add(timer);
    return { [Symbol.dispose]: () => void this.#due.delete(timer) };
  }

  every(ms: number, run: () => void): Disposable {
    const next = (): void => {
      current = this.after(ms, next);
      run();
    };
    let current = this.after(ms, next);
    return { [Symbol.dispose]: () => current[Symbol.dispose]() };
  }

  async sleep(ms: number, { signal }: { signal?: AbortSignal } = {}): Promise<void> {
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    using _timer = this.after(ms, resolve);
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    await promise;
  }

  /** Moves time on, running what falls due in its order and letting promises settle between. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      await settle();
      const [first] = [...this.#due].sort((a, b) => a.at - b.at);
      if (first === undefined || first.at > end) break;
      this.#now = Math.max(this.#now, first.at);
      this.#due.delete(first);
      first.run();
    }
    this.#now = end;
    await settle();
  }

  /** Time passes with nothing running, as when a process is suspended. */
  standStill(ms: number): void {
    this.#now += ms;
  }
}

function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
