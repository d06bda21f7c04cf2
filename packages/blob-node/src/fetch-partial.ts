import { type Digest, digestAlgorithm, digestBytes, isContentError } from "@meridian/oci";
import type { BlobInfo, BlobStore, ByteSink, ByteSpan, Upload } from "@meridian/storage";
import { MAX_SMALL_BYTES, type PartialBytes, SmallPartial } from "./small-partial.ts";

/** Uploads of the store whose id begins so are partial fetches, not clients'. */
export const FETCH_PREFIX = "fetch-";

// How often what has arrived is made to survive a crash: so much may have to come again. The store begins to write it
// out earlier, so that there is little to wait for. The rest of a blob is synced by its commit.
const SYNC_EVERY_BYTES = 8 * 1024 * 1024;
const EARLIER = "an earlier fetch";

/**
 * What has arrived of a blob, and whose bytes it is. It is an upload of the store, with one id per digest, so that a
 * fetch finds what an earlier one, or an earlier process, left.
 */
export class FetchPartial implements AsyncDisposable {
  readonly #digest: Digest;
  readonly #store: BlobStore;
  readonly #contributors = new Set<string>();
  readonly #expectedSize: number | undefined;
  #upload: PartialBytes;
  #unsynced = 0;

  private constructor(store: BlobStore, digest: Digest, expectedSize: number | undefined, upload: PartialBytes) {
    this.#store = store;
    this.#digest = digest;
    this.#expectedSize = expectedSize;
    this.#upload = upload;
    if (upload.offset > 0) this.#contributors.add(EARLIER);
  }

  /** Opens what is there, or begins it: in memory when the blob is said to be small. */
  static async open(store: BlobStore, digest: Digest, expectedSize: number | undefined): Promise<FetchPartial> {
    return new FetchPartial(store, digest, expectedSize, await openBytes(store, digest, expectedSize));
  }

  /** Bytes here. */
  get offset(): number {
    return this.#upload.offset;
  }

  /** Whose bytes it holds. */
  get contributors(): readonly string[] {
    return [...this.#contributors];
  }

  /** Whose bytes alone it holds; undefined when several, or an earlier fetch from nobody knows whom, had a part. */
  get soleContributor(): string | undefined {
    const [only, other] = this.#contributors;
    return other === undefined && only !== EARLIER ? only : undefined;
  }

  /** Bytes of these holders, too, are to be appended. */
  alsoFrom(holders: Iterable<string>): void {
    for (const holder of holders) this.#contributors.add(holder);
  }

  /** Appends what a holder sent. */
  async take(chunk: Uint8Array, holder: string): Promise<void> {
    this.#contributors.add(holder);
    const bytes = chunk.byteLength;
    await this.#upload.write(chunk);
    this.#unsynced += bytes;
    if (this.#unsynced < SYNC_EVERY_BYTES) return;
    this.#unsynced = 0;
    await this.#upload.sync();
  }

  read(span: ByteSpan, sink: ByteSink, options: { signal?: AbortSignal }): Promise<void> {
    return this.#upload.read(span, sink, options);
  }

  /** Makes it the blob. @throws ContentError `digest-mismatch`: it stays as it was. */
  commit(): Promise<BlobInfo> {
    return this.#upload.commit(this.#digest);
  }

  /** Drops what has arrived. */
  async startOver(): Promise<void> {
    this.#contributors.clear();
    this.#unsynced = 0;
    await this.#upload.cancel();
    this.#upload = await openBytes(this.#store, this.#digest, this.#expectedSize);
  }

  /** Lets go of it after a failure: kept to go on with, unless it is empty or was what filled the disk. */
  async leave(failure: unknown): Promise<void> {
    try {
      if (this.offset === 0 || isContentError(failure, "no-space")) await this.#upload.cancel();
      else await this.#upload.sync();
    } catch {
      // Nothing is lost but bytes that can be fetched again.
    }
    await this[Symbol.asyncDispose]();
  }

  /** Removes it: nobody wants the blob any more. */
  async discard(): Promise<void> {
    await this.#upload.cancel();
  }

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.#upload[Symbol.asyncDispose]();
  }
}

function openBytes(store: BlobStore, digest: Digest, expectedSize: number | undefined): Promise<PartialBytes> {
  const openLarge = (): Promise<Upload> => openUpload(store, digest);
  const small = expectedSize !== undefined && expectedSize <= MAX_SMALL_BYTES;
  return small ? Promise.resolve(new SmallPartial({ store, openLarge })) : openLarge();
}

async function openUpload(store: BlobStore, digest: Digest): Promise<Upload> {
  const id = FETCH_PREFIX + Buffer.from(digestBytes(digest)).toString("base64url");
  const algorithm = digestAlgorithm(digest);
  return (await store.resume(id, { algorithm })) ?? (await store.begin(id, { algorithm }));
}
