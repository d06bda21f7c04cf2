import { ContentError, type Digest } from "@meridian/oci";
import type { BlobInfo, BlobStore, ByteSink, ByteSpan, Upload } from "@meridian/storage";

/** Blobs up to this size arrive in memory, in bytes: nothing of them is worth keeping over a crash. */
export const MAX_SMALL_BYTES = 256 * 1024;

/** What a fetch needs of the place where its bytes arrive. */
export type PartialBytes = Omit<Upload, "id" | "truncate">;

/** What has arrived of a small blob, in memory until it is whole; of one that proves to be larger, in an upload. */
export class SmallPartial implements PartialBytes {
  readonly #store: BlobStore;
  readonly #openLarge: () => Promise<Upload>;
  #chunks: Uint8Array[] = [];
  #length = 0;
  #large: Upload | undefined;

  constructor({ store, openLarge }: { store: BlobStore; openLarge: () => Promise<Upload> }) {
    this.#store = store;
    this.#openLarge = openLarge;
  }

  get offset(): number {
    return this.#large?.offset ?? this.#length;
  }

  async write(chunk: Uint8Array): Promise<void> {
    if (this.#large === undefined && this.#length + chunk.byteLength > MAX_SMALL_BYTES) await this.#grow();
    if (this.#large !== undefined) return this.#large.write(chunk);
    this.#chunks.push(Uint8Array.from(chunk));
    this.#length += chunk.byteLength;
  }

  async sync(): Promise<void> {
    await this.#large?.sync();
  }

  commit(digest: Digest): Promise<BlobInfo> {
    return this.#large?.commit(digest) ?? this.#store.put(digest, this.#content());
  }

  async cancel(): Promise<void> {
    this.#chunks = [];
    this.#length = 0;
    await this.#large?.cancel();
  }

  async read(span: ByteSpan, sink: ByteSink, options: { signal?: AbortSignal } = {}): Promise<void> {
    if (this.#large !== undefined) return this.#large.read(span, sink, options);
    if (span.start < 0 || span.end < span.start || span.end > this.#length) {
      throw new ContentError("invalid-range", `bytes ${span.start}–${span.end} of ${this.#length}`);
    }
    options.signal?.throwIfAborted();
    if (span.end > span.start) await sink.write(this.#content().subarray(span.start, span.end));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#large?.[Symbol.asyncDispose]();
  }

  #content(): Uint8Array {
    if (this.#chunks.length !== 1) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0]!;
  }

  /** An upload of the blob that an earlier process left may hold anything: it begins anew. */
  async #grow(): Promise<void> {
    const large = await this.#openLarge();
    await large.truncate(0);
    await large.write(this.#content());
    this.#large = large;
    this.#chunks = [];
  }
}
