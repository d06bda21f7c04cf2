import { ContentError, type Digest, isContentError } from "@meridian/oci";
import type { BlobStore, ByteSink, ByteSpan, CachedBlobStore, OpenBlob } from "@meridian/storage";
import type { NodeBytes, ReadOptions, ServedBlob } from "@meridian/transfer";
import { ArrivingBlob } from "./arriving-blob.ts";
import type { DirectReads } from "./direct-read.ts";
import type { FetchTable } from "./fetch-table.ts";
import type { NodeStateFile } from "./node-state.ts";
import type { Uploads } from "./uploads.ts";

/** What {@link createLocalBytes} needs. */
export interface LocalBytesOptions {
  /** This node, as site/process. */
  readonly self: string;
  readonly store: BlobStore & Partial<Pick<CachedBlobStore, "cached">>;
  readonly fetches: FetchTable;
  readonly direct: DirectReads;
  readonly uploads: Uploads;
  readonly state: NodeStateFile;
}

/** The bytes of this node, called from inside its process or by its byte listener. */
export function createLocalBytes(options: LocalBytesOptions): NodeBytes {
  const { self, store, uploads, state } = options;
  return {
    cached: (digest) => store.cached?.(digest),
    async open(digest, readOptions) {
      const stored = await store.open(digest);
      if (stored !== undefined) return new StoredBlob(self, stored);
      const holders = readOptions.holders.filter((node) => node !== self);
      // A node that is being drained gets nothing: who asks goes to the holders itself.
      if (holders.length === 0 || state.standing.draining) return undefined;
      return openFromHolders(options, digest, { ...readOptions, holders });
    },
    append: (uploadId, body, appendOptions) => uploads.append(uploadId, body, appendOptions),
  };
}

/** Joins or starts the one fetch of the blob; only the size is asked for when nothing is to be read. */
async function openFromHolders(
  { self, store, fetches, direct }: LocalBytesOptions,
  digest: Digest,
  { holders, size, span, signal }: ReadOptions,
): Promise<ServedBlob | undefined> {
  try {
    if (span?.end !== undefined && span.end <= span.start) {
      const located = await direct.locate(digest, holders, signal);
      return new DirectBlob(digest, located, holders, direct);
    }
    const { fetch } = fetches.join(digest, { holders, size, class: "pull" });
    const arriving = await fetch.opened(signal);
    const stored = fetch.view.state === "stored" ? await store.open(digest) : undefined;
    if (stored !== undefined) return new StoredBlob(self, stored);
    return new ArrivingBlob(fetch, arriving, holders, { store, direct });
  } catch (error) {
    if (isContentError(error, "not-found")) return undefined;
    if (!isContentError(error, "no-space")) throw error;
    return new DirectBlob(digest, await direct.locate(digest, holders, signal), holders, direct);
  }
}

class StoredBlob implements ServedBlob {
  readonly servedBy: string;
  readonly route = "local";
  readonly size: number;
  readonly bytes?: Uint8Array;
  readonly #blob: OpenBlob;

  constructor(self: string, blob: OpenBlob) {
    this.servedBy = self;
    this.size = blob.size;
    this.bytes = blob.bytes;
    this.#blob = blob;
  }

  read(span: ByteSpan, sink: ByteSink, options?: { signal?: AbortSignal }): Promise<void> {
    return this.#blob.read(span, sink, options);
  }

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.#blob[Symbol.asyncDispose]();
  }
}

/** A blob of which nothing is stored here, now or after the read. */
class DirectBlob implements ServedBlob {
  readonly size: number;
  readonly servedBy: string;
  readonly route = "stream";
  readonly #digest: Digest;
  readonly #holders: readonly string[];
  readonly #direct: DirectReads;

  constructor(
    digest: Digest,
    { size, servedBy }: Pick<ServedBlob, "size" | "servedBy">,
    holders: readonly string[],
    direct: DirectReads,
  ) {
    this.#digest = digest;
    this.size = size;
    this.servedBy = servedBy;
    this.#holders = holders;
    this.#direct = direct;
  }

  async read(span: ByteSpan, sink: ByteSink, { signal }: { signal?: AbortSignal } = {}): Promise<void> {
    if (span.start < 0 || span.end < span.start || span.end > this.size) {
      throw new ContentError("invalid-range", `bytes ${span.start}–${span.end} of ${this.size}`);
    }
    await this.#direct.read(this.#digest, { holders: this.#holders, size: this.size, span, sink, signal });
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
