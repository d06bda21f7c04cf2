/** Something with answers that have not been given to the operating system yet. */
export interface HeldAnswers {
  /** Gives them to it. */
  release(): void;
}

/** Then they leave at once, so that no answer waits for very many requests behind it. */
const MAX_HELD = 64;

/**
 * Lets the answers of one turn of the event loop leave together at its end. A client that is written to while it sleeps
 * has to be woken, which costs more than the write; written to one after the other, clients are awake for most. Reading
 * all and then writing all also keeps the processor's caches warm. For a single request the turn ends with its answer.
 */
export class TurnOfAnswers {
  #held: HeldAnswers[] = [];
  #isScheduled = false;

  /** `one` is released once, at the latest when the turn ends. */
  hold(one: HeldAnswers): void {
    this.#held.push(one);
    if (this.#held.length >= MAX_HELD) this.#release();
    else if (!this.#isScheduled) {
      this.#isScheduled = true;
      setImmediate(this.#endOfTurn);
    }
  }

  readonly #endOfTurn = (): void => {
    this.#isScheduled = false;
    this.#release();
  };

  #release(): void {
    const held = this.#held;
    this.#held = [];
    for (const one of held) one.release();
  }
}
