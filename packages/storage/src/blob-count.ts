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

  /** What comes or goes while the first count runs may be counted or not. */
  async read(): Promise<{ blobs: number; bytes: number }> {
    this.#counting ??= this.#count();
    await this.#counting;
    return { blobs: Math.max(0, this.#blobs), bytes: Math.max(0, this.#bytes) };
  }

  async #count(): Promise<void> {
    try {
      for await (const { size } of this.#list()) this.added(size);
    } catch (error) {
      this.#counting = undefined;
      this.#blobs = 0;
      this.#bytes = 0;
      throw error;
    }
  }
}
