import type { BlobInfo } from "./blob-store.ts";

/** How many blobs there are and how large they are together: counted once, at the first question, then kept up. */
export class BlobCount {
  readonly #list: () => AsyncIterable<BlobInfo>;
  #counting: Promise<void> | undefined;
  #blobs = 0;
  #bytes = 0;

  constructor(list: () => AsyncIterable<BlobInfo>) {
    this.#list = list;
  }

  /** True once anybody has asked: before that, changes need not be told. */
  get wanted(): boolean {
    return this.#counting !== undefined;
  }

  added(size: number): void {
    this.#blobs++;
    this.#bytes += size;
  }

  removed(size: number): void {
    this.#blobs--;
    this.#bytes -= size;
  }

  /** Counts anew at the next question: something has gone of which nobody knows how it was counted. */
  forget(): void {
    this.#counting = undefined;
    this.#blobs = 0;
    this.#bytes = 0;
  }

  /** What comes or goes while the first count runs may be counted or not. */
  async read(): Promise<{ blobs: number; bytes: number }> {
    if (this.#counting === undefined) {
      const counting = this.#count(() => this.#counting === counting);
      this.#counting = counting;
    }
    await this.#counting;
    return { blobs: Math.max(0, this.#blobs), bytes: Math.max(0, this.#bytes) };
  }

  async #count(isCurrent: () => boolean): Promise<void> {
    let blobs = 0;
    let bytes = 0;
    try {
      for await (const { size } of this.#list()) {
        blobs++;
        bytes += size;
      }
    } catch (error) {
      if (isCurrent()) this.forget();
      throw error;
    }
    if (!isCurrent()) return;
    this.#blobs += blobs;
    this.#bytes += bytes;
  }
}
