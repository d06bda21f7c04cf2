import { createHash, type Hash } from "node:crypto";
import { ContentError, type Digest, type DigestAlgorithm, digestAlgorithm, digestFromBytes } from "@meridian/oci";
import type { BlobInfo, ByteSink, ByteSpan, Upload } from "./blob-store.ts";
import { requireSpan } from "./span.ts";
import type { UploadBytes } from "./upload-bytes.ts";

/** A hash of the first `offset` bytes. Never updated: taken by {@link Hash.copy}. */
export interface HashedPrefix {
  readonly algorithm: DigestAlgorithm;
  readonly offset: number;
  readonly hash: Hash;
}

/** The hash of nothing. */
export function emptyPrefix(algorithm: DigestAlgorithm): HashedPrefix {
  return { algorithm, offset: 0, hash: createHash(algorithm) };
}

/** Hashes the first `length` bytes from where they are kept. */
export async function hashBytes(bytes: UploadBytes, length: number, algorithm: DigestAlgorithm): Promise<HashedPrefix> {
  const hash = createHash(algorithm);
  await bytes.read({ start: 0, end: length }, { write: (chunk) => void hash.update(chunk) }, {});
  return { algorithm, offset: length, hash };
}

/** How a writer came to its end. */
export type WriterEnd = "fenced" | "closed" | "committed" | "cancelled";

/** What a writer writes, where it begins, and who is told when it ends. */
export interface UploadWriterParts {
  readonly id: string;
  readonly bytes: UploadBytes;
  /** What is there already, synced. */
  readonly prefix: HashedPrefix;
  readonly ended: (writer: UploadWriter, end: WriterEnd) => void;
}

/** The rules of an upload over any driver's bytes: order, hash, offsets, fencing. */
export class UploadWriter implements Upload {
  readonly id: string;
  readonly #bytes: UploadBytes;
  readonly #ended: UploadWriterParts["ended"];
  #hash: Hash;
  #algorithm: DigestAlgorithm;
  #offset: number;
  #synced: HashedPrefix;
  #end: WriterEnd | undefined;
  #failure: unknown;
  #last: Promise<unknown> = Promise.resolve();

  constructor({ id, bytes, prefix, ended }: UploadWriterParts) {
    this.id = id;
    this.#bytes = bytes;
    this.#ended = ended;
    this.#algorithm = prefix.algorithm;
    this.#hash = prefix.hash.copy();
    this.#offset = prefix.offset;
    this.#synced = prefix;
  }

  get offset(): number {
    return this.#offset;
  }

  /** The hash up to where a resume would begin. */
  get synced(): HashedPrefix {
    return this.#synced;
  }

  write(chunk: Uint8Array): Promise<void> {
    return this.#alone(async () => {
      const appended = this.#orFail(this.#bytes.append(chunk));
      // Hashed while the disk is at work.
      this.#hash.update(chunk);
      await appended;
      this.#offset += chunk.byteLength;
    });
  }

  sync(): Promise<void> {
    return this.#alone(() => this.#sync());
  }

  truncate(offset: number): Promise<void> {
    return this.#alone(async () => {
      if (!Number.isSafeInteger(offset) || offset < 0 || offset > this.#offset) {
        throw new ContentError(
          "invalid-range",
          `cannot cut back to ${offset}, only ${this.#offset} bytes have arrived`,
        );
      }
      if (offset === this.#offset) return;
      const keptSynced = offset >= this.#synced.offset;
      await this.#orFail(
        this.#bytes.truncate(offset, keptSynced ? this.#synced : { algorithm: this.#algorithm, offset }),
      );
      const prefix = await this.#orFail(this.#prefixTo(offset));
      if (!keptSynced) this.#synced = prefix;
      this.#hash = prefix.hash.copy();
      this.#offset = offset;
    });
  }

  commit(expected: Digest): Promise<BlobInfo> {
    return this.#alone(async () => {
      const digest = await this.#digest(digestAlgorithm(expected));
      if (digest !== expected) {
        throw new ContentError("digest-mismatch", `the ${this.#offset} bytes hash to ${digest}, not to ${expected}`);
      }
      await this.#orFail(this.#bytes.publish(expected));
      this.#finish("committed");
      return { digest: expected, size: this.#offset };
    });
  }

  async cancel(): Promise<void> {
    if (this.#end === "committed" || this.#end === "cancelled") return;
    await this.#serial(async () => {
      if (this.#end === "committed" || this.#end === "cancelled") return;
      if (this.#end !== undefined) throw this.#refusal();
      await this.#bytes.remove();
      this.#finish("cancelled");
    });
  }

  async read(span: ByteSpan, sink: ByteSink, options: { signal?: AbortSignal } = {}): Promise<void> {
    this.#requireOpen();
    requireSpan(span, this.#offset);
    options.signal?.throwIfAborted();
    await this.#bytes.read(span, sink, options);
  }

  /** Stops this writer for a newer one; resolves when nothing of it is under way any more. */
  async fence(): Promise<void> {
    if (this.#end === undefined) this.#finish("fenced");
    await this.#serial(() => this.#bytes.close());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#end !== undefined) return;
    this.#finish("closed");
    await this.#serial(() => this.#bytes.close());
  }

  async #sync(): Promise<void> {
    if (this.#synced.offset === this.#offset && this.#offset > 0) return;
    const prefix = { algorithm: this.#algorithm, offset: this.#offset, hash: this.#hash.copy() };
    await this.#orFail(this.#bytes.sync(prefix));
    this.#synced = prefix;
  }

  async #prefixTo(offset: number): Promise<HashedPrefix> {
    if (offset === 0) return emptyPrefix(this.#algorithm);
    return offset === this.#synced.offset ? this.#synced : hashBytes(this.#bytes, offset, this.#algorithm);
  }

  async #digest(algorithm: DigestAlgorithm): Promise<Digest> {
    const wanted = algorithm === this.#algorithm;
    const hash = wanted ? this.#hash : (await this.#orFail(hashBytes(this.#bytes, this.#offset, algorithm))).hash;
    return digestFromBytes(algorithm, hash.copy().digest());
  }

  /** One after another, and only while the writer may write. */
  #alone<T>(work: () => Promise<T>): Promise<T> {
    return this.#serial(() => {
      this.#requireOpen();
      return work();
    });
  }

  #serial<T>(work: () => Promise<T>): Promise<T> {
    const run = this.#last.then(work);
    this.#last = run.catch(() => undefined);
    return run;
  }

  /** After a failed write nobody knows what is kept beyond the synced offset: only a resume goes on from there. */
  async #orFail<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      this.#failure ??= error;
      throw error;
    }
  }

  #requireOpen(): void {
    if (this.#end !== undefined) throw this.#refusal();
    if (this.#failure !== undefined) throw this.#failure;
  }

  #refusal(): ContentError {
    if (this.#end === "fenced") return new ContentError("fenced", `a newer writer has taken over upload ${this.id}`);
    return new ContentError("not-found", `upload ${this.id} has been ${this.#end}`);
  }

  #finish(end: WriterEnd): void {
    this.#end = end;
    this.#ended(this, end);
  }
}
