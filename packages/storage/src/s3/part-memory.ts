/** The size of a part: S3 wants at least 5 MiB for all but the last one. */
export const PART_BYTES = 8 * 1024 * 1024;

/** Unused buffers that are kept for the next upload. */
const KEPT = 4;

/** Who fills a part, and can be told to let go of it. */
export interface PartFiller {
  /** Stores what there is, although it is not a whole part. Called when others wait for memory. */
  spill(): void;
}

/**
 * The memory of all uploads together. When it is used up and somebody waits, whoever has been filling a part for the
 * longest stores what he has: so a hundred slow clients are served by little memory, and none waits for another.
 */
export class PartMemory {
  readonly #maxParts: number;
  readonly #free: Buffer[] = [];
  readonly #waiting: Array<(part: Buffer) => void> = [];
  /** Oldest first. */
  readonly #fillers = new Set<PartFiller>();
  #lent = 0;

  /** `maxBytes`: of all parts together; two parts at least. */
  constructor({ maxBytes }: { maxBytes: number }) {
    this.#maxParts = Math.max(2, Math.floor(maxBytes / PART_BYTES));
  }

  /** How many parts are out now. */
  get lent(): number {
    return this.#lent;
  }

  /** A part, when it is the caller's turn. */
  acquire(): Promise<Buffer> {
    if (this.#lent < this.#maxParts && this.#waiting.length === 0) {
      this.#lent++;
      return Promise.resolve(this.#free.pop() ?? Buffer.allocUnsafeSlow(PART_BYTES));
    }
    const { promise, resolve } = Promise.withResolvers<Buffer>();
    this.#waiting.push(resolve);
    this.#askForMemory();
    return promise;
  }

  /** Says that there is something to spill; at once, when somebody waits already. */
  filling(filler: PartFiller): void {
    this.#fillers.add(filler);
    if (this.#waiting.length > 0) this.#askForMemory();
  }

  /** Says that there is nothing to spill any more. */
  notFilling(filler: PartFiller): void {
    this.#fillers.delete(filler);
  }

  release(part: Buffer): void {
    const next = this.#waiting.shift();
    if (next !== undefined) {
      next(part);
      return;
    }
    this.#lent--;
    if (this.#free.length < KEPT) this.#free.push(part);
  }

  #askForMemory(): void {
    for (const oldest of this.#fillers) {
      this.#fillers.delete(oldest);
      oldest.spill();
      return;
    }
  }
}
