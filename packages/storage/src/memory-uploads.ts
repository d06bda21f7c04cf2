import { ContentError, type Digest, type DigestAlgorithm } from "@meridian/oci";
import type { ByteSink, ByteSpan } from "./blob-store.ts";
import { sendBytes } from "./memory-blob.ts";
import type { ResumePoint, UploadBytes } from "./upload-bytes.ts";
import type { FoundUpload, UploadDriver } from "./upload-sessions.ts";

interface Kept {
  buffer: Uint8Array;
  length: number;
  resumeAt: ResumePoint;
}

/** Uploads in memory. `publish` is called with the bytes of each that is committed. */
export class MemoryUploads implements UploadDriver {
  readonly #kept = new Map<string, Kept>();
  readonly #publish: (digest: Digest, content: Uint8Array) => void;

  constructor(publish: (digest: Digest, content: Uint8Array) => void) {
    this.#publish = publish;
  }

  async create(id: string, algorithm: DigestAlgorithm): Promise<UploadBytes> {
    if (this.#kept.has(id)) throw new ContentError("conflict", `upload ${id} exists`);
    const kept = { buffer: new Uint8Array(0), length: 0, resumeAt: { algorithm, offset: 0 } };
    this.#kept.set(id, kept);
    return this.#bytes(id, kept);
  }

  async find(id: string): Promise<FoundUpload | undefined> {
    const kept = this.#kept.get(id);
    if (kept === undefined) return undefined;
    kept.length = kept.resumeAt.offset;
    return { bytes: this.#bytes(id, kept), ...kept.resumeAt };
  }

  #bytes(id: string, kept: Kept): UploadBytes {
    return {
      append: async (chunk) => append(kept, chunk),
      sync: async (resumeAt) => {
        kept.resumeAt = resumeAt;
      },
      truncate: async (length, resumeAt) => {
        kept.length = length;
        kept.resumeAt = resumeAt;
      },
      read: (span: ByteSpan, sink: ByteSink, options) => sendBytes(kept.buffer, span, sink, options),
      publish: async (digest) => {
        this.#kept.delete(id);
        this.#publish(digest, kept.buffer.slice(0, kept.length));
      },
      remove: async () => {
        this.#kept.delete(id);
      },
      close: async () => {},
    };
  }
}

function append(kept: Kept, chunk: Uint8Array): void {
  const needed = kept.length + chunk.byteLength;
  if (needed > kept.buffer.byteLength) {
    const grown = new Uint8Array(Math.max(needed, kept.buffer.byteLength * 2, 4096));
    grown.set(kept.buffer.subarray(0, kept.length));
    kept.buffer = grown;
  }
  kept.buffer.set(chunk, kept.length);
  kept.length = needed;
}
