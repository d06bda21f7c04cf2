import type { WantedBlob } from "./wanted-blob.ts";

/** The place of a blob in the queue when it was put there. */
interface Queued {
  readonly blob: WantedBlob;
  readonly rank: number;
  readonly size: number;
}

/**
 * Blobs by rank, then size: a binary heap. A blob whose rank or size changed is put in again, and the stale entry is
 * skipped when it comes up.
 */
export class SmallestFirst {
  readonly #heap: Queued[] = [];

  push(blob: WantedBlob): void {
    this.#heap.push({ blob, rank: blob.rank, size: blob.size });
    this.#rise(this.#heap.length - 1);
  }

  /** The first blob that is ready; undefined when none is. */
  pop(): WantedBlob | undefined {
    for (;;) {
      const top = this.#takeTop();
      if (top === undefined) return undefined;
      const { blob, rank, size } = top;
      if (blob.state === "ready" && blob.rank === rank && blob.size === size) return blob;
    }
  }

  #takeTop(): Queued | undefined {
    const top = this.#heap[0];
    const last = this.#heap.pop();
    if (top === undefined || last === undefined || this.#heap.length === 0) return top;
    this.#heap[0] = last;
    this.#sink(0);
    return top;
  }

  #rise(start: number): void {
    let index = start;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!this.#before(index, parent)) return;
      this.#swap(index, parent);
      index = parent;
    }
  }

  #sink(start: number): void {
    let index = start;
    for (;;) {
      let first = index;
      for (const child of [2 * index + 1, 2 * index + 2]) {
        if (child < this.#heap.length && this.#before(child, first)) first = child;
      }
      if (first === index) return;
      this.#swap(index, first);
      index = first;
    }
  }

  #before(a: number, b: number): boolean {
    const [first, second] = [this.#heap[a]!, this.#heap[b]!];
    return first.rank !== second.rank ? first.rank < second.rank : first.size < second.size;
  }

  #swap(a: number, b: number): void {
    [this.#heap[a], this.#heap[b]] = [this.#heap[b]!, this.#heap[a]!];
  }
}
