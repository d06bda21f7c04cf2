import { ContentError, type Digest, Digester, digestAlgorithm } from "@meridian/oci";
import type { ByteSink, ByteSpan, OpenBlob } from "./blob-store.ts";
import type { FileBlob } from "./file-blob.ts";

/** Up to this size a copy that has not been hashed yet is hashed before its first byte is sent: some 40 ms. */
const CHECK_FIRST_BYTES = 64 * 1024 * 1024;
/** Sent only when all before it is known to be right. */
const LAST_PIECE_BYTES = 256 * 1024;

/** What a {@link CheckedFileBlob} asks of its store. */
export interface CopyVerifier {
  isVerified(digest: Digest, file: FileBlob): boolean;
  /** Hashes it, once for all who ask meanwhile. @throws ContentError `unavailable` when it was wrong: it has been moved aside. */
  verify(digest: Digest, file: FileBlob): Promise<void>;
  /** Hashes it later, for nobody in particular. */
  verifyLater(digest: Digest): void;
  verified(digest: Digest, file: FileBlob): void;
  /** Moves it aside. */
  wrong(digest: Digest, file: FileBlob, problem: string): Promise<void>;
}

/**
 * A file that is never read to its end with bytes other than its digest's. Its content is hashed once: at its first
 * read since the process started or since anything wrote to it. Up to 64 MiB that comes before the first byte; larger
 * ones are hashed while they are sent, and the last piece waits for the result. Of a part of a larger one that was not
 * hashed yet nothing is known: it is sent, and the whole is checked behind it.
 */
export class CheckedFileBlob implements OpenBlob {
  readonly size: number;
  readonly #digest: Digest;
  readonly #file: FileBlob;
  readonly #verifier: CopyVerifier;

  constructor(digest: Digest, file: FileBlob, verifier: CopyVerifier) {
    this.#digest = digest;
    this.#file = file;
    this.#verifier = verifier;
    this.size = file.size;
  }

  async read(span: ByteSpan, sink: ByteSink, options: { signal?: AbortSignal } = {}): Promise<void> {
    if (span.start === span.end || this.#verifier.isVerified(this.#digest, this.#file)) {
      return this.#readVerified(span, sink, options);
    }
    if (this.size <= CHECK_FIRST_BYTES) {
      await this.#verifier.verify(this.#digest, this.#file);
      return this.#readVerified(span, sink, options);
    }
    if (span.start === 0 && span.end === this.size) return this.#readHashing(sink, options);
    this.#verifier.verifyLater(this.#digest);
    return this.#file.read(span, sink, options);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#file[Symbol.asyncDispose]();
  }

  /** The end is sent only if nobody has written to the file meanwhile. */
  async #readVerified(span: ByteSpan, sink: ByteSink, options: { signal?: AbortSignal }): Promise<void> {
    const file = this.#file;
    if (span.end !== this.size || span.start >= span.end) return file.read(span, sink, options);
    const last = Math.max(span.start, this.size - LAST_PIECE_BYTES);
    try {
      if (span.start < last) await file.read({ start: span.start, end: last }, sink, options);
      if (!(await file.isUnwritten())) throw changed(this.#digest, last > span.start);
      await file.read({ start: last, end: span.end }, sink, options);
    } catch (error) {
      // Whatever it was, a look at the copy tells whether it is to blame.
      if (!options.signal?.aborted && !(await file.isUnwritten().catch(() => false)))
        this.#verifier.verifyLater(this.#digest);
      throw error;
    }
  }

  async #readHashing(sink: ByteSink, options: { signal?: AbortSignal }): Promise<void> {
    const digester = new Digester(digestAlgorithm(this.#digest));
    const last = this.size - LAST_PIECE_BYTES;
    let refused = false;
    const hashing: ByteSink = {
      write: (chunk) => {
        digester.update(chunk);
        const writing = sink.write(chunk);
        return writing?.catch((error: unknown) => {
          refused = true;
          throw error;
        });
      },
    };
    const tail = Buffer.allocUnsafe(LAST_PIECE_BYTES);
    let filled = 0;
    const keeping: ByteSink = {
      write(chunk) {
        digester.update(chunk);
        tail.set(chunk, filled);
        filled += chunk.byteLength;
      },
    };
    try {
      await this.#file.read({ start: 0, end: last }, hashing, options);
      await this.#file.read({ start: last, end: this.size }, keeping, options);
    } catch (error) {
      if (refused || options.signal?.aborted) throw error;
      // Nobody can vouch for what was sent: nobody else may complete it.
      this.#verifier.verifyLater(this.#digest);
      throw new ContentError("digest-mismatch", `a copy of ${this.#digest} broke off before it was checked`, {
        cause: error,
      });
    }
    if (digester.current() !== this.#digest) {
      await this.#verifier.wrong(this.#digest, this.#file, WRONG_BYTES);
      throw new ContentError("digest-mismatch", `the copy of ${this.#digest} has wrong bytes`);
    }
    this.#verifier.verified(this.#digest, this.#file);
    await sink.write(tail);
  }
}

/** What is wrong with a copy that can be read. */
export const WRONG_BYTES = "its bytes do not hash to its digest";

/** Of what was sent nobody knows whether it was written before or after. */
function changed(digest: Digest, sent: boolean): ContentError {
  return new ContentError(sent ? "digest-mismatch" : "unavailable", `somebody wrote to the copy of ${digest}`);
}
