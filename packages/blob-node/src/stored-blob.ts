import { isContentError } from "@meridian/oci";
import type { ByteSink, ByteSpan, OpenBlob } from "@meridian/storage";
import type { ServedBlob } from "@meridian/transfer";
import type { ReadLoad } from "./read-load.ts";
import { TrackedSink } from "./tracked-sink.ts";

/** What {@link StoredBlob} needs. */
export interface StoredBlobParts {
  /** This node, as site/process. */
  readonly self: string;
  readonly load: ReadLoad;
  /** Opens the blob at its other holders; undefined when there are none. */
  readonly elsewhere?: (span: ByteSpan, signal: AbortSignal | undefined) => Promise<ServedBlob | undefined>;
}

/** A copy on this node. When it turns out unreadable, the rest comes from another holder, within the same read. */
export class StoredBlob implements ServedBlob {
  readonly servedBy: string;
  readonly route = "local";
  readonly size: number;
  readonly bytes?: Uint8Array;
  readonly #blob: OpenBlob;
  readonly #parts: StoredBlobParts;

  constructor(blob: OpenBlob, parts: StoredBlobParts) {
    this.servedBy = parts.self;
    this.size = blob.size;
    this.bytes = blob.bytes;
    this.#blob = blob;
    this.#parts = parts;
  }

  async read(span: ByteSpan, sink: ByteSink, options: { signal?: AbortSignal } = {}): Promise<void> {
    using _counted = this.#parts.load.enter();
    const { elsewhere } = this.#parts;
    if (elsewhere === undefined) return this.#blob.read(span, sink, options);
    const tracked = new TrackedSink(sink);
    try {
      await this.#blob.read(span, tracked, options);
    } catch (error) {
      // Only `unavailable` says that what has been sent is right.
      const mayGoOn = isContentError(error, "unavailable") && tracked.failure === undefined && !options.signal?.aborted;
      if (!mayGoOn) throw error;
      const rest = { start: span.start + tracked.delivered, end: span.end };
      await using other = await elsewhere(rest, options.signal);
      if (other?.size !== this.size) throw error;
      await other.read(rest, sink, options);
    }
  }

  [Symbol.asyncDispose](): PromiseLike<void> {
    return this.#blob[Symbol.asyncDispose]();
  }
}
