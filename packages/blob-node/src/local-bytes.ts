import { ContentError, type Digest, isContentError } from "@meridian/oci";
import type { BlobStore, ByteSink, ByteSpan, CachedBlobStore, OpenBlob } from "@meridian/storage";
import type { NodeBytes, ReadOptions, ServedBlob } from "@meridian/transfer";
import { ArrivingBlob } from "./arriving-blob.ts";
import type { DirectReads } from "./direct-read.ts";
import type { FetchTable } from "./fetch-table.ts";
import { LinkedBlob } from "./linked-blob.ts";
import type { LostBlobs } from "./lost-blobs.ts";
import type { NodeStateFile } from "./node-state.ts";
import type { ReadLoad } from "./read-load.ts";
import { StoredBlob } from "./stored-blob.ts";
import type { Uploads } from "./uploads.ts";

/** Whatever a caller asks for: nobody's rights are older than an hour. */
const MAX_LINK_MS = 3_600_000;

/** What {@link createLocalBytes} needs. */
export interface LocalBytesOptions {
  /** This node, as site/process. */
  readonly self: string;
  readonly store: BlobStore & Partial<Pick<CachedBlobStore, "cached">>;
  readonly fetches: FetchTable;
  readonly direct: DirectReads;
  readonly uploads: Uploads;
  readonly state: NodeStateFile;
  readonly lost: LostBlobs;
  readonly load: ReadLoad;
}

/** The bytes of this node, called from inside its process or by its byte listener. */
export function createLocalBytes(options: LocalBytesOptions): NodeBytes {
  const { self, store, uploads, state, load } = options;
  const link = store.link?.bind(store);
  const bytes: NodeBytes = {
    cached: (digest) => store.cached?.(digest),
    async open(digest, readOptions) {
      const { size, linkForMs } = readOptions;
      if (link !== undefined && linkForMs !== undefined && size !== undefined) {
        // Without a URL the bytes are sent, or tell themselves what is wrong with the store.
        const target = await link(digest, { forMs: Math.min(linkForMs, MAX_LINK_MS) }).catch(() => undefined);
        const read = (): Promise<ServedBlob | undefined> =>
          bytes.open(digest, { ...readOptions, linkForMs: undefined, signal: undefined });
        if (target !== undefined) return new LinkedBlob({ size, servedBy: self, link: target }, read);
      }
      const holders = readOptions.holders.filter((node) => node !== self);
      // A node that is being drained gets nothing: who asks goes to the holders itself.
      const others = holders.length === 0 || state.standing.draining ? undefined : { ...readOptions, holders };
      const stored = await openStored(options, digest, readOptions.size).catch((error: unknown) => {
        // The copy cannot be read; others may have one that can.
        if (others === undefined || !isContentError(error, "unavailable")) throw error;
        return undefined;
      });
      if (stored === undefined) return others && openFromHolders(options, digest, others);
      const elsewhere =
        others &&
        ((span: ByteSpan, signal: AbortSignal | undefined) =>
          openFromHolders(options, digest, { ...others, span, signal }));
      return new StoredBlob(stored, { self, load, elsewhere });
    },
    append: (uploadId, body, appendOptions) => uploads.append(uploadId, body, appendOptions),
  };
  return bytes;
}

/** The copy here; one of another size than is known is looked at first. */
async function openStored(
  { store, lost }: LocalBytesOptions,
  digest: Digest,
  size: number | undefined,
): Promise<OpenBlob | undefined> {
  const stored = await store.open(digest);
  if (stored === undefined || size === undefined || size === stored.size) return stored;
  await stored[Symbol.asyncDispose]();
  return (await lost.isRight({ digest, size })) ? store.open(digest) : undefined;
}

/** Joins or starts the one fetch of the blob; only the size is asked for when nothing is to be read. */
async function openFromHolders(
  { self, store, fetches, direct, load }: LocalBytesOptions,
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
    if (stored !== undefined) return new StoredBlob(stored, { self, load });
    return new ArrivingBlob(fetch, arriving, holders, { store, direct });
  } catch (error) {
    if (isContentError(error, "not-found")) return undefined;
    if (!isContentError(error, "no-space")) throw error;
    return new DirectBlob(digest, await direct.locate(digest, holders, signal), holders, direct);
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
