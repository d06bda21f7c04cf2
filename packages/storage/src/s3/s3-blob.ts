import { ContentError, type Digest, Digester, digestAlgorithm } from "@meridian/oci";
import type { ByteSink, ByteSpan, OpenBlob } from "../blob-store.ts";
import { requireSpan } from "../span.ts";
import type { S3Bucket } from "./s3-bucket.ts";
import { isMissing, s3Code } from "./s3-error.ts";
import { ShorterObject, sendObject } from "./send-object.ts";

/** Bytes at the end of a blob that are sent only when all of it has turned out right. */
export const HELD_BACK_BYTES = 256 * 1024;

/** What an open blob is made of. */
export interface S3BlobParts {
  readonly bucket: S3Bucket;
  readonly key: string;
  readonly digest: Digest;
  readonly size: number;
  /** Told when what is in the bucket does not hash to the digest. */
  readonly onWrong: () => void;
  /** Told when it is no longer in the bucket, although nobody deleted it here. */
  readonly onGone: () => void;
  /** Told once, at the end. */
  readonly onClosed: () => void;
}

/** A blob in the bucket. Read as a whole it is hashed on the way: others may have written to the bucket. */
export class S3Blob implements OpenBlob {
  readonly size: number;
  readonly #parts: S3BlobParts;
  #closed = false;

  constructor(parts: S3BlobParts) {
    this.size = parts.size;
    this.#parts = parts;
  }

  async read(span: ByteSpan, sink: ByteSink, { signal }: { signal?: AbortSignal } = {}): Promise<void> {
    requireSpan(span, this.size);
    signal?.throwIfAborted();
    const send = (to: ByteSink): Promise<void> => this.#send(span, to, signal);
    if (span.start !== 0 || span.end !== this.size) return send(sink);
    const checked = new CheckedSink(this.#parts.digest, this.size, sink);
    await send(checked);
    if (!checked.isRight) {
      this.#parts.onWrong();
      const { key } = this.#parts;
      throw new ContentError("digest-mismatch", `what the bucket has under ${key} does not hash to its name`);
    }
    await checked.releaseRest();
  }

  async #send(span: ByteSpan, sink: ByteSink, signal: AbortSignal | undefined): Promise<void> {
    const { bucket, key, onWrong, onGone } = this.#parts;
    try {
      await sendObject({ bucket, key, span, sink, doing: "read a blob", signal });
    } catch (error) {
      const { cause } = error as { cause?: unknown };
      if (isMissing(cause)) onGone();
      if (s3Code(cause) === "InvalidRange" || error instanceof ShorterObject) onWrong();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#parts.onClosed();
  }
}

/** Hashes what passes, and keeps the end. */
class CheckedSink implements ByteSink {
  readonly #digest: Digest;
  readonly #digester: Digester;
  readonly #sink: ByteSink;
  readonly #passing: number;
  readonly #rest: Buffer;
  #seen = 0;

  constructor(digest: Digest, size: number, sink: ByteSink) {
    this.#digest = digest;
    this.#digester = new Digester(digestAlgorithm(digest));
    this.#sink = sink;
    this.#passing = Math.max(0, size - HELD_BACK_BYTES);
    this.#rest = Buffer.allocUnsafe(size - this.#passing);
  }

  get isRight(): boolean {
    return this.#digester.current() === this.#digest;
  }

  write(chunk: Uint8Array): void | Promise<void> {
    this.#digester.update(chunk);
    const passed = Math.max(0, Math.min(chunk.byteLength, this.#passing - this.#seen));
    this.#rest.set(chunk.subarray(passed), Math.max(0, this.#seen - this.#passing));
    this.#seen += chunk.byteLength;
    return passed === 0 ? undefined : this.#sink.write(chunk.subarray(0, passed));
  }

  async releaseRest(): Promise<void> {
    if (this.#rest.byteLength > 0) await this.#sink.write(this.#rest);
  }
}
