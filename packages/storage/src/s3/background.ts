/** Work that nobody waits for but the end of the store; its failures are told to one place. */
export class Background {
  readonly #running = new Set<Promise<void>>();
  readonly #failed: (doing: string, error: unknown) => void;

  constructor(failed: (doing: string, error: unknown) => void) {
    this.#failed = failed;
  }

  run(doing: string, work: () => Promise<void>): void {
    const running = work()
      .catch((error: unknown) => this.#failed(doing, error))
      .finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  /** Resolves when nothing is under way. */
  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }
}
