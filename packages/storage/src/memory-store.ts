import type { Digest } from "@meridian/oci";
import type { BlobInfo, BlobStore } from "./blob-store.ts";
import { openBytes } from "./memory-blob.ts";
import { MemoryUploads } from "./memory-uploads.ts";
import { requireDigest } from "./require-digest.ts";
import { UploadSessions } from "./upload-sessions.ts";

/** A blob store in memory, with the same behaviour as one on disk; its content ends with it. */
export function createMemoryBlobStore(): BlobStore {
  const blobs = new Map<Digest, Uint8Array>();
  const sessions = new UploadSessions(new MemoryUploads((digest, content) => blobs.set(digest, content)));
  const infoOf = (digest: Digest, content: Uint8Array): BlobInfo => ({ digest, size: content.byteLength });
  return {
    async stat(digest) {
      const content = blobs.get(digest);
      return content && infoOf(digest, content);
    },
    async open(digest) {
      const content = blobs.get(digest);
      return content && openBytes(content);
    },
    begin: (id, options) => sessions.begin(id, options),
    resume: (id, options) => sessions.resume(id, options),
    async put(digest, content) {
      requireDigest(digest, content);
      blobs.set(digest, Uint8Array.from(content));
      return infoOf(digest, content);
    },
    delete: async (digest) => blobs.delete(digest),
    async *list({ after } = {}) {
      for (const digest of [...blobs.keys()].sort()) {
        if (after !== undefined && digest <= after) continue;
        const content = blobs.get(digest);
        if (content !== undefined) yield infoOf(digest, content);
      }
    },
    async usage() {
      const bytes = blobs.values().reduce((sum, content) => sum + content.byteLength, 0);
      return { blobs: blobs.size, bytes, freeBytes: Number.POSITIVE_INFINITY };
    },
    async probe(signal) {
      signal?.throwIfAborted();
    },
    async [Symbol.asyncDispose]() {
      await sessions.close();
      blobs.clear();
    },
  };
}
