import type { Timers } from "@meridian/runtime";

/** Something that changes, and those who wait for it. Listeners run synchronously, after the change. */
export class Changes {
  readonly #listeners = new Set<() => void>();

  /** Tells all listeners. */
  emit(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  /** Calls `listener` after each change, until disposed. */
  subscribe(listener: () => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** True as soon as `condition` holds; false after `timeoutMs`, or when the signal aborts. */
  until(
    condition: () => boolean,
    options: { timers: Timers; timeoutMs: number; signal?: AbortSignal | undefined },
  ): Promise<boolean> {
    if (condition()) return Promise.resolve(true);
    return new Promise((resolve) => {
      const finish = (held: boolean): void => {
        subscription[Symbol.dispose]();
        timer[Symbol.dispose]();
        options.signal?.removeEventListener("abort", onAbort);
        resolve(held);
      };
      const onAbort = (): void => finish(false);
      const subscription = this.subscribe(() => {
        if (condition()) finish(true);
      });
      const timer = options.timers.after(options.timeoutMs, () => finish(condition()));
      options.signal?.addEventListener("abort", onAbort, { once: true });
      if (options.signal?.aborted) onAbort();
    });
  }
}
