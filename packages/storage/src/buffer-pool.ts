/** The size of a pooled buffer: large enough for full speed, small enough for hundreds of slow readers. */
export const BUFFER_BYTES = 256 * 1024;

/** Unused buffers that are kept for the next stream; those beyond are left to the garbage collector. */
const KEPT = 32;

/** A bounded number of equal buffers, lent out first come first served. */
export class BufferPool {
  readonly bufferBytes: number;
  readonly #maxBuffers: number;
  readonly #free: Buffer[] = [];
  readonly #waiting: Array<(buffer: Buffer) => void> = [];
  #lent = 0;

  /** `maxBuffers`: how many may be out at once, 512 (128 MiB) when absent. */
  constructor({ bufferBytes = BUFFER_BYTES, maxBuffers = 512 }: { bufferBytes?: number; maxBuffers?: number } = {}) {
    this.bufferBytes = bufferBytes;
    this.#maxBuffers = maxBuffers;
  }

  /** How many are out now. */
  get lent(): number {
    return this.#lent;
  }

  /** A buffer, when one is left and nobody waits. Its content is whatever was in it. */
  tryAcquire(): Buffer | undefined {
    if (this.#lent >= this.#maxBuffers || this.#waiting.length > 0) return undefined;
    this.#lent++;
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(this.bufferBytes);
  }

  /**
   * A buffer, as soon as there is one. Whoever holds one must not wait for a second, or all may wait for each other:
   * a second is for {@link tryAcquire}. Rejects with the signal's reason when it aborts first.
   */
  async acquire({ signal }: { signal?: AbortSignal } = {}): Promise<Buffer> {
    signal?.throwIfAborted();
    const buffer = this.tryAcquire();
    if (buffer !== undefined) return buffer;
    const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
    const stop = (): void => {
      this.#waiting.splice(this.#waiting.indexOf(resolve), 1);
      reject(signal?.reason);
    };
    this.#waiting.push(resolve);
    signal?.addEventListener("abort", stop, { once: true });
    try {
      return await promise;
    } finally {
      signal?.removeEventListener("abort", stop);
    }
  }

  /** Takes back a buffer; nobody may look at it any more. */
  release(buffer: Buffer): void {
    const next = this.#waiting.shift();
    if (next !== undefined) {
      next(buffer);
      return;
    }
    this.#lent--;
    if (this.#free.length < KEPT) this.#free.push(buffer);
  }
}
