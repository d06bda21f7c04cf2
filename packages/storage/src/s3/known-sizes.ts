import type { Digest } from "@meridian/oci";

/**
 * The sizes of the blobs that were asked for last: they never change, so only a removal makes one wrong. Absence is not
 * kept: a blob that is absent now may be there at the next question.
 */
export class KnownSizes {
  readonly #max: number;
  readonly #sizes = new Map<Digest, number>();

  constructor(max: number) {
    this.#max = max;
  }

  get(digest: Digest): number | undefined {
    return this.#sizes.get(digest);
  }

  set(digest: Digest, size: number): void {
    this.#sizes.delete(digest);
    this.#sizes.set(digest, size);
    if (this.#sizes.size <= this.#max) return;
    const [oldest] = this.#sizes.keys();
    this.#sizes.delete(oldest as Digest);
  }

  delete(digest: Digest): void {
    this.#sizes.delete(digest);
  }
}
