import type { Digest } from "@meridian/oci";
import type { BlobInfo, BlobStore, OpenBlob } from "./blob-store.ts";
import { openBytes } from "./memory-blob.ts";
import { RecentBytes } from "./recent-bytes.ts";

/** How much {@link withSmallBlobCache} keeps. */
export interface SmallBlobCacheOptions {
  /** Larger blobs are always read from the store; 256 KiB when absent. */
  readonly maxBlobBytes?: number;
  /** Of all kept content together. */
  readonly maxBytes: number;
}

/** A store that answers for small blobs from memory. */
export interface CachedBlobStore extends BlobStore {
  /** The content when it is in memory, without waiting; undefined says nothing about the store. Never to be written to. */
  cached(digest: Digest): Uint8Array | undefined;
}

/**
 * Keeps the small blobs that were read last in memory. Content never changes under its digest, so only a delete makes
 * an entry wrong; deletes must go through the returned store. Disposing it disposes the store.
 */
export function withSmallBlobCache(store: BlobStore, options: SmallBlobCacheOptions): CachedBlobStore {
  const cache = new SmallBlobCache(store, options);
  // What is in memory is right, but it is stored no more, and must not be said to be.
  const watching = store.checks?.watch(({ digest }) => cache.forget(digest));
  const link = store.link?.bind(store);
  return {
    checks: store.checks,
    cached: (digest) => cache.cached(digest),
    open: (digest) => cache.open(digest),
    stat: (digest) => cache.stat(digest),
    delete: (digest) => cache.delete(digest),
    begin: (id, options) => store.begin(id, options),
    resume: (id, options) => store.resume(id, options),
    put: (digest, content) => cache.put(digest, content),
    ...(link === undefined ? {} : { link }),
    list: (options) => store.list(options),
    usage: () => store.usage(),
    probe: (signal) => store.probe(signal),
    [Symbol.asyncDispose]: () => {
      watching?.[Symbol.dispose]();
      return store[Symbol.asyncDispose]();
    },
  };
}

/** A blob on its way into memory. */
interface Load {
  readonly opened: Promise<OpenBlob | undefined>;
  /** Set when the blob is deleted meanwhile: then it must not be kept. */
  stale: boolean;
}

class SmallBlobCache {
  readonly #store: BlobStore;
  readonly #maxBlobBytes: number;
  readonly #kept: RecentBytes;
  readonly #loads = new Map<Digest, Load>();
  #deletes = 0;

  constructor(store: BlobStore, { maxBlobBytes = 256 * 1024, maxBytes }: SmallBlobCacheOptions) {
    this.#store = store;
    this.#maxBlobBytes = maxBlobBytes;
    this.#kept = new RecentBytes(maxBytes);
  }

  cached(digest: Digest): Uint8Array | undefined {
    return this.#kept.get(digest);
  }

  async open(digest: Digest): Promise<OpenBlob | undefined> {
    const content = this.#kept.get(digest);
    if (content !== undefined) return openBytes(content);
    const running = this.#loads.get(digest);
    if (running === undefined) return this.#startLoad(digest);
    const bytes = (await running.opened)?.bytes;
    return bytes === undefined ? this.#store.open(digest) : openBytes(bytes);
  }

  async stat(digest: Digest): Promise<BlobInfo | undefined> {
    const info = await this.#store.stat(digest);
    // What is in memory is right, but whoever asks wants to know whether it is stored.
    if (info === undefined) this.forget(digest);
    return info;
  }

  /** What was just pushed or fetched is pulled soon, at the latest by the next site. */
  async put(digest: Digest, content: Uint8Array): Promise<BlobInfo> {
    const kept = content.byteLength <= this.#maxBlobBytes ? Uint8Array.from(content) : undefined;
    const deletes = this.#deletes;
    const info = await this.#store.put(digest, content);
    // A delete meanwhile may have been the last word.
    if (kept !== undefined && this.#deletes === deletes) this.#kept.set(digest, kept);
    return info;
  }

  async delete(digest: Digest): Promise<boolean> {
    this.#deletes++;
    try {
      return await this.#store.delete(digest);
    } finally {
      this.forget(digest);
    }
  }

  /** The blob is not in the store any more. */
  forget(digest: Digest): void {
    const running = this.#loads.get(digest);
    if (running !== undefined) running.stale = true;
    this.#kept.delete(digest);
  }

  #startLoad(digest: Digest): Promise<OpenBlob | undefined> {
    const opened = this.#load(digest, () => load.stale).finally(() => this.#loads.delete(digest));
    const load: Load = { opened, stale: false };
    this.#loads.set(digest, load);
    return opened;
  }

  async #load(digest: Digest, isStale: () => boolean): Promise<OpenBlob | undefined> {
    const blob = await this.#store.open(digest);
    if (blob === undefined || blob.size > this.#maxBlobBytes) return blob;
    await using _closed = blob;
    const content = blob.bytes ?? (await readWhole(blob));
    if (!isStale()) this.#kept.set(digest, content);
    return openBytes(content);
  }
}

async function readWhole(blob: OpenBlob): Promise<Uint8Array> {
  const content = new Uint8Array(blob.size);
  let filled = 0;
  const sink = {
    write(chunk: Uint8Array): void {
      content.set(chunk, filled);
      filled += chunk.byteLength;
    },
  };
  await blob.read({ start: 0, end: blob.size }, sink);
  return content;
}
