import { ContentError, isContentError } from "@meridian/oci";
import type { BlobStore, ByteSink, ByteSpan } from "@meridian/storage";
import type { ServedBlob } from "@meridian/transfer";
import type { BlobFetch } from "./blob-fetch.ts";
import type { DirectReads } from "./direct-read.ts";
import { TrackedSink } from "./tracked-sink.ts";

/** What {@link ArrivingBlob} needs. */
export interface ArrivingBlobDeps {
  readonly store: BlobStore;
  readonly direct: DirectReads;
}

// A reader that starts no further ahead than this waits for the fetch; one further ahead asks a holder itself.
const WAIT_AHEAD_BYTES = 8 * 1024 * 1024;
// After so much of a direct read, look again whether the fetch has come as far.
const DIRECT_STEP_BYTES = 16 * 1024 * 1024;
// After so much of the partial, look again whether it is still the right one.
const FOLLOW_STEP_BYTES = 4 * 1024 * 1024;

/** A blob that is being fetched, read as it arrives. Its last piece comes once the hash is right and the blob is stored. */
export class ArrivingBlob implements ServedBlob {
  readonly size: number;
  readonly servedBy: string;
  readonly route = "stream";
  readonly #fetch: BlobFetch;
  readonly #holders: readonly string[];
  readonly #deps: ArrivingBlobDeps;

  /** `fetch` has been opened and told the size; `holders` are asked for what it cannot bring soon. */
  constructor(fetch: BlobFetch, size: number, holders: readonly string[], deps: ArrivingBlobDeps) {
    this.#fetch = fetch;
    this.#holders = holders;
    this.#deps = deps;
    this.size = size;
    this.servedBy = fetch.holder;
  }

  async read(span: ByteSpan, sink: ByteSink, { signal }: { signal?: AbortSignal } = {}): Promise<void> {
    if (span.start < 0 || span.end < span.start || span.end > this.size) {
      throw new ContentError("invalid-range", `bytes ${span.start}–${span.end} of ${this.size}`);
    }
    const tracked = new TrackedSink(sink);
    // The epoch whose bytes the reader has been sent.
    let epoch: number | undefined;
    while (tracked.delivered < span.end - span.start) {
      signal?.throwIfAborted();
      const rest = { start: span.start + tracked.delivered, end: span.end };
      const view = this.#fetch.view;
      if (epoch !== undefined && view.epoch !== epoch) throw wrongBytes(this.#fetch.digest);
      if (view.state !== "running") {
        await this.#readSettled(rest, tracked, view.error, signal);
      } else if (rest.start < view.readable) {
        epoch = view.epoch;
        await this.#follow({ start: rest.start, end: Math.min(rest.end, view.readable) }, tracked, signal);
      } else if (rest.start > this.#fetch.received + WAIT_AHEAD_BYTES) {
        await this.#readAhead(rest, tracked, signal);
      } else {
        await this.#fetch.changed(signal);
      }
    }
    if (epoch !== undefined && this.#fetch.view.epoch !== epoch) throw wrongBytes(this.#fetch.digest);
  }

  async [Symbol.asyncDispose](): Promise<void> {}

  async #follow(span: ByteSpan, sink: TrackedSink, signal: AbortSignal | undefined): Promise<void> {
    const step = { start: span.start, end: Math.min(span.end, span.start + FOLLOW_STEP_BYTES) };
    const before = this.#fetch.view;
    try {
      await this.#fetch.readPartial(step, sink, { signal });
    } catch (error) {
      if (sink.failure !== undefined || signal?.aborted) throw error;
      // The partial became the blob, or was dropped, while it was read: the next look at the view tells.
      const now = this.#fetch.view;
      if (now.state === before.state && now.epoch === before.epoch) await this.#fetch.changed(signal);
    }
  }

  async #readSettled(
    rest: ByteSpan,
    sink: TrackedSink,
    error: unknown,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { store, direct } = this.#deps;
    if (error === undefined) {
      await using blob = await store.open(this.#fetch.digest);
      if (blob === undefined) throw new ContentError("unavailable", "the blob was deleted while it was read");
      if (blob.size !== this.size) throw wrongBytes(this.#fetch.digest);
      await blob.read(rest, sink, { signal });
      return;
    }
    // A full disk ends the storing, not the serving.
    if (!isContentError(error, "no-space")) throw error;
    await direct.read(this.#fetch.digest, { holders: this.#holders, size: this.size, span: rest, sink, signal });
  }

  async #readAhead(rest: ByteSpan, sink: TrackedSink, signal: AbortSignal | undefined): Promise<void> {
    const span = { start: rest.start, end: Math.min(rest.end, rest.start + DIRECT_STEP_BYTES) };
    await this.#deps.direct.read(this.#fetch.digest, { holders: this.#holders, size: this.size, span, sink, signal });
  }
}

function wrongBytes(digest: string): ContentError {
  return new ContentError("digest-mismatch", `what arrived for ${digest} was wrong`);
}
