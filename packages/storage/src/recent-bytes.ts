import type { Digest } from "@meridian/oci";

/** The contents used last, as many as fit. */
export class RecentBytes {
  readonly #maxBytes: number;
  readonly #entries = new Map<Digest, Uint8Array>();
  #bytes = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  get(digest: Digest): Uint8Array | undefined {
    const content = this.#entries.get(digest);
    if (content === undefined) return undefined;
    // A Map keeps the order of insertion: the first one is the one not used for longest.
    this.#entries.delete(digest);
    this.#entries.set(digest, content);
    return content;
  }

  set(digest: Digest, content: Uint8Array): void {
    this.delete(digest);
    if (content.byteLength > this.#maxBytes) return;
    this.#entries.set(digest, content);
    this.#bytes += content.byteLength;
    for (const oldest of this.#entries.keys()) {
      if (this.#bytes <= this.#maxBytes) break;
      this.delete(oldest);
    }
  }

  delete(digest: Digest): void {
    const content = this.#entries.get(digest);
    if (content === undefined) return;
    this.#entries.delete(digest);
    this.#bytes -= content.byteLength;
  }
}
