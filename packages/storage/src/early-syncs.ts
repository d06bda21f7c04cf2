/** How many early syncs may run at once in a store: they occupy threads that readers need too. */
const MAX_RUNNING = 2;

/** Lets a few uploads at a time sync while they still arrive. */
export class EarlySyncs {
  #running = 0;

  /** Starts it, or does nothing when enough are running. */
  tryRun(sync: () => Promise<void>): void {
    if (this.#running >= MAX_RUNNING) return;
    this.#running++;
    void sync().finally(() => {
      this.#running--;
    });
  }
}
