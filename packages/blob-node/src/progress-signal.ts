/** Lets many wait for the next change of something, with no memory of those that are over. */
export class ProgressSignal {
  #next = Promise.withResolvers<void>();

  /** Wakes everybody who waits. */
  changed(): void {
    const woken = this.#next;
    this.#next = Promise.withResolvers<void>();
    woken.resolve();
  }

  /** Resolves at the next change; rejects with the signal's reason when it aborts first. */
  next(signal?: AbortSignal): Promise<void> {
    if (signal === undefined) return this.#next.promise;
    if (signal.aborted) return Promise.reject(signal.reason);
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    void this.#next.promise.then(() => {
      signal.removeEventListener("abort", onAbort);
      resolve();
    });
    return promise;
  }
}
