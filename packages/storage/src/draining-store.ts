import type { Digest } from "@meridian/oci";
import type { BlobInfo, BlobStore, OpenBlob, Upload } from "./blob-store.ts";
import { DigestTurns } from "./digest-turns.ts";
import type { CachedBlobStore } from "./small-blob-cache.ts";

/** What became of a blob that was to be removed. */
export type Removal = "removed" | "kept" | "absent";

/** A store whose blobs are removed in two steps, so that one that is stored anew in between stays. */
export interface DrainingStore extends BlobStore, Partial<Pick<CachedBlobStore, "cached">> {
  /**
   * Marks a blob that is to be removed. From then on {@link BlobStore.stat} denies it, so that nobody counts on it; who
   * has it open reads on. A commit or put of the digest takes the mark away. Marks end with the process.
   */
  drain(digest: Digest): void;
  /** Takes the mark away. */
  keep(digest: Digest): void;
  /**
   * Removes the blob if it is still marked: in turn with commits and puts of the digest, so that none ever relies on a
   * file that goes. `kept` when the mark is gone, and the blob stays.
   */
  removeDrained(digest: Digest): Promise<Removal>;
}

/** Adds removal in two steps to a store; whatever stores or deletes must go through the result. Disposing it disposes the store. */
export function withDraining(store: BlobStore & Partial<Pick<CachedBlobStore, "cached">>): DrainingStore {
  const marks = new DrainMarks(store);
  const { checks } = store;
  const link = store.link?.bind(store);
  const cached = store.cached?.bind(store);
  return {
    ...(checks === undefined ? {} : { checks }),
    ...(link === undefined ? {} : { link }),
    ...(cached === undefined ? {} : { cached }),
    open: (digest): Promise<OpenBlob | undefined> => store.open(digest),
    stat: async (digest) => (marks.has(digest) ? undefined : store.stat(digest)),
    begin: async (id, options) => marks.watched(await store.begin(id, options)),
    async resume(id, options) {
      const upload = await store.resume(id, options);
      return upload && marks.watched(upload);
    },
    put: (digest, content) => marks.storing(digest, () => store.put(digest, content)),
    delete: (digest) => marks.storing(digest, () => store.delete(digest)),
    list: (options) => store.list(options),
    usage: () => store.usage(),
    probe: (signal) => store.probe(signal),
    drain: (digest) => marks.add(digest),
    keep: (digest) => marks.remove(digest),
    removeDrained: (digest) => marks.removeBlob(digest),
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
}

class DrainMarks {
  readonly #store: BlobStore;
  readonly #turns = new DigestTurns();
  readonly #marked = new Set<Digest>();

  constructor(store: BlobStore) {
    this.#store = store;
  }

  has(digest: Digest): boolean {
    return this.#marked.has(digest);
  }

  add(digest: Digest): void {
    this.#marked.add(digest);
  }

  remove(digest: Digest): void {
    this.#marked.delete(digest);
  }

  /** The mark is gone once the work has begun, and no removal runs beside it. */
  storing<T>(digest: Digest, work: () => Promise<T>): Promise<T> {
    return this.#turns.run(digest, () => {
      this.#marked.delete(digest);
      return work();
    });
  }

  removeBlob(digest: Digest): Promise<Removal> {
    return this.#turns.run(digest, async () => {
      if (!this.#marked.has(digest)) return "kept";
      try {
        return (await this.#store.delete(digest)) ? "removed" : "absent";
      } finally {
        this.#marked.delete(digest);
      }
    });
  }

  watched(upload: Upload): Upload {
    return {
      get id() {
        return upload.id;
      },
      get offset() {
        return upload.offset;
      },
      write: (chunk) => upload.write(chunk),
      sync: () => upload.sync(),
      truncate: (offset) => upload.truncate(offset),
      commit: (expected): Promise<BlobInfo> => this.storing(expected, () => upload.commit(expected)),
      cancel: () => upload.cancel(),
      read: (span, sink, options) => upload.read(span, sink, options),
      [Symbol.asyncDispose]: () => upload[Symbol.asyncDispose](),
    };
  }
}
