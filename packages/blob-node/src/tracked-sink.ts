import type { ByteSink } from "@meridian/storage";

/** A sink that knows how far it got, and whether it was itself that failed. */
export class TrackedSink implements ByteSink {
  readonly #target: ByteSink;
  /** Bytes that the target has taken. */
  delivered = 0;
  /** What the target threw. */
  failure: { readonly error: unknown } | undefined;

  constructor(target: ByteSink) {
    this.#target = target;
  }

  write(chunk: Uint8Array): void | Promise<void> {
    const bytes = chunk.byteLength;
    try {
      const writing = this.#target.write(chunk);
      if (writing === undefined) {
        this.delivered += bytes;
        return undefined;
      }
      return writing.then(
        () => {
          this.delivered += bytes;
        },
        (error: unknown) => this.#fail(error),
      );
    } catch (error) {
      return this.#fail(error);
    }
  }

  #fail(error: unknown): never {
    this.failure = { error };
    throw error;
  }
}
