/** How many readers a node is sending to: work that nobody waits for makes room for them. */
export class ReadLoad {
  #active = 0;

  get active(): number {
    return this.#active;
  }

  /** Counts one until disposed. */
  enter(): Disposable {
    this.#active += 1;
    return {
      [Symbol.dispose]: () => {
        this.#active -= 1;
      },
    };
  }
}
