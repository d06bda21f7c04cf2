import type { Digest, DigestAlgorithm } from "@meridian/oci";
import type { ByteSink, ByteSpan } from "./blob-store.ts";

/** Where a resume begins. */
export interface ResumePoint {
  /** How much is synced, and so kept. */
  readonly offset: number;
  /** What it has been hashed with. */
  readonly algorithm: DigestAlgorithm;
}

/**
 * The bytes of one upload as a driver keeps them, without the rules of {@link import("./blob-store.ts").Upload}:
 * its caller hashes, counts, and calls one method at a time, but `read`, which may run beside any other.
 */
export interface UploadBytes {
  /** Adds to the end; the chunk is not used after the promise settles. */
  append(chunk: Uint8Array): Promise<void>;
  /** Makes all of it survive a crash; `resumeAt` names its length. */
  sync(resumeAt: ResumePoint): Promise<void>;
  /** Cuts to the length, which is not below the point to resume at from now on. */
  truncate(length: number, resumeAt: ResumePoint): Promise<void>;
  /** Sends bytes that were appended. */
  read(span: ByteSpan, sink: ByteSink, options: { signal?: AbortSignal }): Promise<void>;
  /** Makes all of it durable and visible as that blob; nothing of the upload is left. */
  publish(digest: Digest): Promise<void>;
  /** Removes all of it. */
  remove(): Promise<void>;
  /** Lets go of it; what was synced stays. */
  close(): Promise<void>;
}
