import { ContentError, type Digest, type DigestAlgorithm, digestAlgorithm, isContentError } from "@meridian/oci";
import type { BlobInfo, BlobStore, Upload } from "@meridian/storage";
import type { AppendOptions } from "@meridian/transfer";
import { giveBack } from "./give-back.ts";

/** One upload that is open here: one writer at a time, the newest. */
export class UploadSession {
  readonly id: string;
  readonly #store: BlobStore;
  #upload: Upload;
  #algorithm: DigestAlgorithm;
  #acknowledged: number;
  /** Where a last body ended that a commit is to follow; undefined when there was none. */
  #final: number | undefined;
  /** The writer at work, and how to stop it. */
  #writer: { readonly fence: AbortController; readonly done: Promise<void> } | undefined;
  #generation = 0;

  constructor(store: BlobStore, upload: Upload, algorithm: DigestAlgorithm) {
    this.#store = store;
    this.#upload = upload;
    this.#algorithm = algorithm;
    this.#acknowledged = upload.offset;
    this.id = upload.id;
  }

  /** Bytes that an answered append has made safe. */
  get acknowledged(): number {
    return this.#acknowledged;
  }

  get busy(): boolean {
    return this.#writer !== undefined;
  }

  /**
   * Takes a body after fencing an older one. What a broken or fenced body brought is not acknowledged.
   * @throws ContentError `invalid-range` when `offset` is not the acknowledged one; `fenced` when a newer request came.
   */
  append(
    body: AsyncIterable<Uint8Array>,
    { offset, final, owned, signal }: AppendOptions,
  ): Promise<{ offset: number }> {
    this.#requireOffset(offset);
    return this.#write(signal, async (fence) => {
      this.#requireOffset(offset);
      if (this.#upload.offset > this.#acknowledged) await this.#upload.truncate(this.#acknowledged);
      this.#final = undefined;
      await this.#take(body, owned === true, fence);
      if (final) {
        this.#final = this.#upload.offset;
        return { offset: this.#final };
      }
      await this.#upload.sync();
      fence.throwIfAborted();
      this.#acknowledged = this.#upload.offset;
      return { offset: this.#acknowledged };
    });
  }

  /** Makes what is acknowledged, and a last body after it, a blob. @throws ContentError `digest-mismatch`: the upload stays. */
  commit(digest: Digest): Promise<BlobInfo> {
    return this.#write(undefined, async () => {
      const algorithm = digestAlgorithm(digest);
      const end = this.#final ?? this.#acknowledged;
      if (algorithm !== this.#algorithm) await this.#reopen(algorithm, end);
      if (this.#upload.offset > end) await this.#upload.truncate(end);
      return this.#upload.commit(digest);
    });
  }

  /** Removes what was received. */
  cancel(): Promise<void> {
    return this.#write(undefined, () => this.#upload.cancel());
  }

  /** Stops the writer and keeps what is acknowledged. */
  async close(): Promise<void> {
    await this.#write(undefined, () => Promise.resolve());
    await this.#upload[Symbol.asyncDispose]();
  }

  /** Runs alone: an older writer is fenced and waited for, a newer one fences this. */
  async #write<T>(signal: AbortSignal | undefined, run: (fence: AbortSignal) => Promise<T>): Promise<T> {
    this.#generation += 1;
    const generation = this.#generation;
    while (this.#writer !== undefined) {
      this.#writer.fence.abort(fenced(this.id));
      await this.#writer.done;
    }
    if (generation !== this.#generation) throw fenced(this.id);
    const fence = new AbortController();
    const done = Promise.withResolvers<void>();
    this.#writer = { fence, done: done.promise };
    try {
      return await run(signal === undefined ? fence.signal : AbortSignal.any([fence.signal, signal]));
    } finally {
      this.#writer = undefined;
      done.resolve();
    }
  }

  async #take(body: AsyncIterable<Uint8Array>, owned: boolean, fence: AbortSignal): Promise<void> {
    fence.throwIfAborted();
    // Not a race with one promise of the fence's: it would remember every chunk until the end.
    let stop: ((reason: unknown) => void) | undefined;
    const onAbort = (): void => stop?.(fence.reason);
    fence.addEventListener("abort", onAbort, { once: true });
    const chunks = body[Symbol.asyncIterator]();
    try {
      for (;;) {
        const next = await new Promise<IteratorResult<Uint8Array>>((resolve, reject) => {
          stop = reject;
          chunks.next().then(resolve, reject);
        });
        fence.throwIfAborted();
        if (next.done) return;
        await this.#upload.write(next.value);
        if (owned) giveBack(next.value);
        fence.throwIfAborted();
      }
    } catch (error) {
      void chunks.return?.()?.catch(() => {});
      fence.throwIfAborted();
      throw isContentError(error) ? error : new ContentError("unavailable", "the body broke off", { cause: error });
    } finally {
      fence.removeEventListener("abort", onAbort);
    }
  }

  /** Opens it again to hash with another algorithm; what is not synced yet has to be first. */
  async #reopen(algorithm: DigestAlgorithm, end: number): Promise<void> {
    if (end > this.#acknowledged) await this.#upload.sync();
    await this.#upload[Symbol.asyncDispose]();
    const upload = await this.#store.resume(this.id, { algorithm });
    if (upload === undefined) throw new ContentError("not-found", `no upload ${this.id}`);
    this.#upload = upload;
    this.#algorithm = algorithm;
  }

  #requireOffset(offset: number | undefined): void {
    if (offset === undefined || offset === this.#acknowledged) return;
    throw new ContentError("invalid-range", `the upload stands at ${this.#acknowledged}, not at ${offset}`);
  }
}

function fenced(id: string): ContentError {
  return new ContentError("fenced", `a newer request took over upload ${id}`);
}
