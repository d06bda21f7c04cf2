import type { Digest } from "@meridian/oci";

/** Which blobs are being read, and which of them are to be removed when they no longer are. */
export class Wanted {
  readonly #holds = new Map<Digest, number>();
  readonly #doomed = new Set<Digest>();
  readonly #onFree: (digest: Digest) => void;

  /** `onFree`: told when nobody reads a doomed blob any more. */
  constructor(onFree: (digest: Digest) => void) {
    this.#onFree = onFree;
  }

  /** Keeps the blob from being removed until the returned function is called, once. */
  hold(digest: Digest): () => void {
    this.#holds.set(digest, (this.#holds.get(digest) ?? 0) + 1);
    return () => {
      const left = (this.#holds.get(digest) ?? 0) - 1;
      if (left > 0) {
        this.#holds.set(digest, left);
        return;
      }
      this.#holds.delete(digest);
      if (this.#doomed.has(digest)) this.#onFree(digest);
    };
  }

  isHeld(digest: Digest): boolean {
    return this.#holds.has(digest);
  }

  /** Says that the blob is to be removed when nobody reads it any more. */
  doom(digest: Digest): void {
    this.#doomed.add(digest);
  }

  isDoomed(digest: Digest): boolean {
    return this.#doomed.has(digest);
  }

  /** Says that the blob is not to be removed, or has been. */
  spare(digest: Digest): void {
    this.#doomed.delete(digest);
  }
}
