import type { Digest, DigestAlgorithm } from "@meridian/oci";
import type { BlobChecks } from "./blob-checks.ts";

/** A stored blob. */
export interface BlobInfo {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
}

/** Bytes `start` (inclusive) to `end` (exclusive) of a blob. */
export interface ByteSpan {
  readonly start: number;
  readonly end: number;
}

/**
 * Where bytes go. The chunk belongs to the sink until the returned promise settles (or the call returns, when it
 * returns nothing); afterwards its memory is used again. A rejection stops the read.
 */
export interface ByteSink {
  write(chunk: Uint8Array): void | Promise<void>;
}

/** An open blob: keeps its bytes readable until disposed, even when the blob is deleted meanwhile. */
export interface OpenBlob extends AsyncDisposable {
  readonly size: number;
  /** The whole content when it is in memory anyway; absent otherwise. Never to be written to. */
  readonly bytes?: Uint8Array;
  /**
   * Sends the span to the sink in order, with bounded memory however slow the sink is.
   * @throws ContentError `invalid-range` when the span is outside the blob, `unavailable` when the disk fails.
   */
  read(span: ByteSpan, sink: ByteSink, options?: { signal?: AbortSignal }): Promise<void>;
}

export interface BlobReader {
  /** Undefined when the blob is absent. */
  stat(digest: Digest): Promise<BlobInfo | undefined>;
  /** Undefined when the blob is absent. */
  open(digest: Digest): Promise<OpenBlob | undefined>;
  /**
   * A URL by which anybody may read the blob, in ranges too, for so long; undefined when it is absent. Absent where the
   * bytes have no address of their own.
   */
  link?(digest: Digest, options: { readonly forMs: number }): Promise<string | undefined>;
}

/**
 * Bytes on their way to become a blob. One writer each: opening it again fences the older writer, whose methods then
 * throw ContentError `fenced`. It survives a restart of the process up to the offset last synced.
 */
export interface Upload extends AsyncDisposable {
  readonly id: string;
  /** Bytes received so far. */
  readonly offset: number;
  /** Appends and hashes; the chunk may be used again once the promise settles. @throws ContentError `no-space`, `fenced`. */
  write(chunk: Uint8Array): Promise<void>;
  /** Makes everything up to the offset survive a crash. */
  sync(): Promise<void>;
  /** Cuts back to an earlier offset, to take bytes again. @throws ContentError `invalid-range` when it is beyond the offset. */
  truncate(offset: number): Promise<void>;
  /**
   * Verifies the hash, then makes the blob visible atomically and durably (file fsynced, renamed, directory fsynced).
   * Committing a digest that is already stored is success. The upload is gone afterwards.
   * @throws ContentError `digest-mismatch`: nothing becomes visible and the upload stays as it was.
   */
  commit(expected: Digest): Promise<BlobInfo>;
  /** Removes it. Idempotent. */
  cancel(): Promise<void>;
  /**
   * Sends bytes already received, while more arrive.
   * @throws ContentError `invalid-range` when the span goes beyond the offset.
   */
  read(span: ByteSpan, sink: ByteSink, options?: { signal?: AbortSignal }): Promise<void>;
  /** Closes the writer and keeps the bytes for a later resume. */
  [Symbol.asyncDispose](): Promise<void>;
}

export interface BlobWriter {
  /** Begins an upload. `id`: 1–128 characters of [A-Za-z0-9_-], chosen by the caller. @throws ContentError `conflict` when it exists. */
  begin(id: string, options?: { algorithm?: DigestAlgorithm }): Promise<Upload>;
  /**
   * Opens an upload again at its synced offset, fencing any other writer of it.
   * `algorithm` re-hashes for another one than it was begun with. Undefined when there is no such upload.
   */
  resume(id: string, options?: { algorithm?: DigestAlgorithm }): Promise<Upload | undefined>;
  /**
   * Stores content that is in memory as a whole, as a commit does but in one step: for manifests and other small
   * blobs, to which an upload that survives restarts means nothing. What is stored already is success.
   * @throws ContentError `digest-mismatch`, `no-space`: nothing becomes visible.
   */
  put(digest: Digest, content: Uint8Array): Promise<BlobInfo>;
}

export interface BlobDeleter {
  /** True when the blob was there. Readers that have it open finish undisturbed. */
  delete(digest: Digest): Promise<boolean>;
}

/** Where {@link BlobLister.list} begins. */
export interface ListOptions {
  /** Exclusive. Absent: with the first. */
  readonly after?: Digest | undefined;
}

export interface BlobLister {
  /**
   * Every stored blob, in digest order, those up to `after` left out; blobs that come or go meanwhile may or may not be
   * listed.
   */
  list(options?: ListOptions): AsyncIterable<BlobInfo>;
  /** What the store holds and what is left, in bytes; `freeBytes` is Infinity where nothing is known. */
  usage(): Promise<{ readonly blobs: number; readonly bytes: number; readonly freeBytes: number }>;
}

/** Content-addressed bytes of one disk or bucket. */
export interface BlobStore extends BlobReader, BlobWriter, BlobDeleter, BlobLister, AsyncDisposable {
  /** Looks after stored copies; absent where the driver's own storage does that. */
  readonly checks?: BlobChecks;
  /** Writes, reads and deletes a small probe. @throws ContentError `unavailable` or `no-space`, with what the operator should do. */
  probe(signal?: AbortSignal): Promise<void>;
}
