/**
 * Turns for the writers of one process: two commits that touch one register run one after the other, so that they do
 * not spoil each other's compare-and-set.
 */
export class KeyLocks {
  readonly #last = new Map<string, Promise<void>>();

  /** Resolves once the caller has all keys; dispose the result to pass them on. */
  async acquire(keys: Iterable<string>): Promise<Disposable> {
    const held = [...new Set(keys)];
    const { promise, resolve } = Promise.withResolvers<void>();
    // All at once, so that no two callers can wait for each other.
    const before = held.map((key) => this.#last.get(key));
    for (const key of held) {
      this.#last.set(key, promise);
    }
    await Promise.all(before);
    return {
      [Symbol.dispose]: () => {
        for (const key of held) {
          if (this.#last.get(key) === promise) {
            this.#last.delete(key);
          }
        }
        resolve();
      },
    };
  }
}
