import { ContentError, type Digest, digestOf } from "@meridian/oci";
import type { ByteSink, ByteSpan } from "@meridian/storage";
import type { NodeBytes, ReadOptions, ServedBlob } from "./node-bytes.ts";

/** A node whose blobs and uploads are in memory, for the tests of this package. */
export interface MemoryNode extends NodeBytes {
  readonly name: string;
  readonly blobs: Map<Digest, Buffer>;
  readonly uploads: Map<string, Buffer[]>;
  /** How it was asked, in order. */
  readonly asked: ReadOptions[];
  /** Bytes that sinks took. */
  sent: number;
  /** Called before each chunk with its offset: may wait, or throw as a failing disk would. */
  beforeChunk: (offset: number, signal?: AbortSignal) => Promise<void>;
  route: "local" | "stream";
  /** Given out to whoever will do with a URL; absent: none is. */
  link?: string;
  put(content: Buffer): Digest;
}

const CHUNK_BYTES = 64 * 1024;

/** Chunks are sent from one buffer that is overwritten as soon as the sink lets go of it. */
export function createMemoryNode(name: string): MemoryNode {
  const node: MemoryNode = {
    name,
    blobs: new Map(),
    uploads: new Map(),
    asked: [],
    sent: 0,
    beforeChunk: () => Promise.resolve(),
    route: "local",
    put(content) {
      const digest = digestOf(content);
      node.blobs.set(digest, content);
      return digest;
    },
    async open(digest, options) {
      node.asked.push(options);
      const content = node.blobs.get(digest);
      const blob = content && new MemoryBlob(node, content);
      return blob && node.link !== undefined && options.linkForMs !== undefined
        ? Object.assign(blob, { link: node.link })
        : blob;
    },
    async append(uploadId, body, { offset }) {
      const chunks = node.uploads.get(uploadId);
      if (chunks === undefined) throw new ContentError("not-found", `no upload ${uploadId}`);
      let at = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
      if (offset !== undefined && offset !== at) throw new ContentError("invalid-range", `the upload stands at ${at}`);
      for await (const chunk of body) {
        chunks.push(Buffer.from(chunk));
        at += chunk.byteLength;
      }
      return { offset: at };
    },
  };
  return node;
}

class MemoryBlob implements ServedBlob {
  readonly size: number;
  readonly servedBy: string;
  readonly route: "local" | "stream";
  readonly #node: MemoryNode;
  readonly #content: Buffer;

  constructor(node: MemoryNode, content: Buffer) {
    this.#node = node;
    this.#content = content;
    this.size = content.length;
    this.servedBy = node.name;
    this.route = node.route;
  }

  async read({ start, end }: ByteSpan, sink: ByteSink, { signal }: { signal?: AbortSignal } = {}): Promise<void> {
    if (start < 0 || end > this.size) throw new ContentError("invalid-range", "outside");
    const pooled = Buffer.alloc(CHUNK_BYTES);
    for (let at = start; at < end; ) {
      await this.#node.beforeChunk(at, signal);
      signal?.throwIfAborted();
      const length = this.#content.copy(pooled, 0, at, Math.min(end, at + CHUNK_BYTES));
      await sink.write(pooled.subarray(0, length));
      pooled.fill(0xee);
      this.#node.sent += length;
      at += length;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
