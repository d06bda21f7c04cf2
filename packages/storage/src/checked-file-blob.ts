import { ContentError, type Digest, isContentError } from "@meridian/oci";
import type { ByteSink, ByteSpan, OpenBlob } from "./blob-store.ts";
import type { FileBlob } from "./file-blob.ts";

/** Up to this size a copy that has not been hashed yet is hashed before its first byte is sent: some 40 ms. */
const CHECK_FIRST_BYTES = 64 * 1024 * 1024;
/** Sent only when all before it is known to be right. */
const LAST_PIECE_BYTES = 256 * 1024;

/** What a {@link CheckedFileBlob} asks of its store. */
export interface CopyVerifier {
  isVerified(digest: Digest, file: FileBlob): boolean;
  /**
   * Hashes it, once for all who ask meanwhile, also when the one who asked first closes its file.
   * @throws ContentError `unavailable` when it was wrong, and has been moved aside, or was replaced meanwhile.
   */
  verify(digest: Digest, file: FileBlob): Promise<void>;
  /** Hashes it later, for nobody in particular. */
  verifyLater(digest: Digest): void;
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
  /** Of this open file, whatever becomes of its name. */
  #isVerified: boolean;

  constructor(digest: Digest, file: FileBlob, verifier: CopyVerifier) {
    this.#digest = digest;
    this.#file = file;
    this.#verifier = verifier;
    this.#isVerified = verifier.isVerified(digest, file);
    this.size = file.size;
  }

  async read(span: ByteSpan, sink: ByteSink, options: { signal?: AbortSignal } = {}): Promise<void> {
    this.#isVerified ||= this.#verifier.isVerified(this.#digest, this.#file);
    if (span.start === span.end || this.#isVerified) return this.#readVerified(span, sink, options);
    if (this.size <= CHECK_FIRST_BYTES) {
      await this.#verifier.verify(this.#digest, this.#file);
      this.#isVerified = true;
      return this.#readVerified(span, sink, options);
    }
    if (span.start === 0 && span.end === this.size) return this.#readWhileVerifying(sink, options);
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

  /** Hashed by itself while it is sent: however many read it, and however slowly, that happens once. */
  async #readWhileVerifying(sink: ByteSink, options: { signal?: AbortSignal }): Promise<void> {
    const last = this.size - LAST_PIECE_BYTES;
    const verifying = this.#verifier.verify(this.#digest, this.#file);
    // Looked at below, which may be later than it fails.
    verifying.catch(() => undefined);
    try {
      await this.#file.read({ start: 0, end: last }, sink, options);
      await verifying;
    } catch (error) {
      if (options.signal?.aborted || !isContentError(error, "unavailable")) throw error;
      // Unless what was sent proves right nobody else may complete it.
      await verifying.catch((cause: unknown) => {
        throw new ContentError("digest-mismatch", `the copy of ${this.#digest} has wrong bytes`, { cause });
      });
      throw error;
    }
    await this.#readVerified({ start: last, end: this.size }, sink, options);
  }
}

/** Of what was sent nobody knows whether it was written before or after. */
function changed(digest: Digest, sent: boolean): ContentError {
  return new ContentError(sent ? "digest-mismatch" : "unavailable", `somebody wrote to the copy of ${digest}`);
}
