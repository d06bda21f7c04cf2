/** What one side of a stream wants to send: pushed from anywhere, read once, in order. */
export class RequestQueue<T> implements AsyncIterable<T> {
  readonly #waiting: T[] = [];
  #wake: (() => void) | undefined;
  #ended = false;
  #failure: { readonly error: unknown } | undefined;

  /** Adds a message; ignored after {@link RequestQueue.end} or {@link RequestQueue.fail}. */
  push(message: T): void {
    if (this.#ended) return;
    this.#waiting.push(message);
    this.#wake?.();
  }

  /** No more messages come: the reader ends once it has taken those that wait. */
  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  /** Breaks the stream off: the reader throws `error` once it has taken the messages that wait. */
  fail(error: unknown): void {
    if (!this.#ended) this.#failure = { error };
    this.end();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T> {
    for (;;) {
      const next = this.#waiting.shift();
      if (next !== undefined) yield next;
      else if (this.#failure !== undefined) throw this.#failure.error;
      else if (this.#ended) return;
      else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        this.#wake = undefined;
      }
    }
  }
}
