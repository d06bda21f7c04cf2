/** The size of a pooled buffer: large enough for full speed, small enough for hundreds of slow readers. */
export const BUFFER_BYTES = 256 * 1024;

/** Unused buffers that are kept for the next stream; those beyond are left to the garbage collector. */
const KEPT = 32;

/** A few larger buffers for whoever comes first: each piece of a stream costs two changes of thread whatever its size. */
export const LARGE_BUFFERS: BufferKind = { bufferBytes: 1024 * 1024, maxBuffers: 8 };

/** The same for writers: each holds one only while the disk takes it. */
export const LARGE_WRITE_BUFFERS: BufferKind = { bufferBytes: 1024 * 1024, maxBuffers: 4, kept: 4 };

/** Unused large buffers that are kept: what one stream uses. */
const KEPT_LARGE = 2;

/** Streams read ahead into a second buffer while fewer usual buffers than this are out. */
export const SPARES_BELOW = 64;

/**
 * Buffers of reads: a few large ones, some of the usual size, and for whoever comes after those half of that. 200 streams
 * hold some 40 MB.
 */
export const READ_BUFFERS = {
  maxBuffers: SPARES_BELOW,
  large: LARGE_BUFFERS,
  small: { bufferBytes: BUFFER_BYTES / 2, maxBuffers: 832 },
  sparesBelow: SPARES_BELOW,
};

/** Buffers of one size. */
export interface BufferKind {
  readonly bufferBytes: number;
  /** How many may be out at once. */
  readonly maxBuffers: number;
  /** How many are kept while unused; a default by size when absent. */
  readonly kept?: number;
}

/** A bounded number of buffers, lent out first come first served. */
export class BufferPool {
  readonly bufferBytes: number;
  readonly #usual: Shelf;
  readonly #large: Shelf;
  readonly #small: Shelf;
  readonly #sparesBelow: number;
  readonly #waiting: Array<(buffer: Buffer) => void> = [];

  /**
   * `maxBuffers`: how many may be out at once, 512 (128 MiB) when absent, beside the `large` ones and the `small` ones,
   * which are lent once no usual one is left: none of either when absent.
   * `sparesBelow`: {@link trySpare} gives none while so many are out; no bound of its own when absent.
   */
  constructor({
    bufferBytes = BUFFER_BYTES,
    maxBuffers = 512,
    large = NONE,
    small = NONE,
    sparesBelow = maxBuffers + small.maxBuffers,
  }: Partial<BufferKind> & {
    readonly large?: BufferKind;
    readonly small?: BufferKind;
    readonly sparesBelow?: number;
  } = {}) {
    this.bufferBytes = bufferBytes;
    this.#sparesBelow = sparesBelow;
    this.#usual = new Shelf({ bufferBytes, maxBuffers }, KEPT);
    this.#large = new Shelf(large, KEPT_LARGE);
    this.#small = new Shelf(small, KEPT);
  }

  /** How many are out now. */
  get lent(): number {
    return this.#beyondLarge + this.#large.lent;
  }

  /**
   * A buffer, when one is left and nobody waits; a large one when more than the usual ones hold is `wanted`, in bytes.
   * Its content is whatever was in it.
   */
  tryAcquire(wanted = 0): Buffer | undefined {
    if (this.#waiting.length > 0) return undefined;
    const large = wanted > this.bufferBytes ? this.#large.take() : undefined;
    return large ?? this.#usual.take() ?? this.#small.take();
  }

  /** True while somebody waits, or more are out than second ones are given beside: who has a second gives it back. */
  get isCrowded(): boolean {
    return this.#waiting.length > 0 || this.#beyondLarge > this.#sparesBelow;
  }

  /** A second buffer for whoever holds one: with many streams under way each does with one, they overlap each other. */
  trySpare(wanted = 0): Buffer | undefined {
    return this.#beyondLarge < this.#sparesBelow ? this.tryAcquire(wanted) : undefined;
  }

  /**
   * A buffer, as soon as there is one. Whoever holds one must not wait for a second, or all may wait for each other:
   * a second is for {@link trySpare}. Rejects with the signal's reason when it aborts first.
   */
  async acquire({ wanted, signal }: { wanted?: number; signal?: AbortSignal } = {}): Promise<Buffer> {
    signal?.throwIfAborted();
    const buffer = this.tryAcquire(wanted);
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
    if (buffer.length === this.bufferBytes) this.#usual.putBack(buffer);
    else (buffer.length > this.bufferBytes ? this.#large : this.#small).putBack(buffer);
  }

  get #beyondLarge(): number {
    return this.#usual.lent + this.#small.lent;
  }
}

const NONE: BufferKind = { bufferBytes: 0, maxBuffers: 0 };

/** The buffers of one kind. */
class Shelf {
  readonly #kind: BufferKind;
  readonly #kept: number;
  readonly #free: Buffer[] = [];
  lent = 0;

  constructor(kind: BufferKind, kept: number) {
    this.#kind = kind;
    this.#kept = kind.kept ?? kept;
  }

  take(): Buffer | undefined {
    if (this.lent >= this.#kind.maxBuffers) return undefined;
    this.lent++;
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(this.#kind.bufferBytes);
  }

  putBack(buffer: Buffer): void {
    this.lent--;
    if (this.#free.length < this.#kept) this.#free.push(buffer);
  }
}
