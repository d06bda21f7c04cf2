import type { Digest } from "@meridian/oci";
import type { ByteSink, ByteSpan } from "@meridian/storage";
import type { OpenSpan, ServedBlob } from "@meridian/transfer";
import type { AheadBuffer } from "./ahead-buffer.ts";
import { type Holders, siteOf } from "./holders.ts";
import { firstRange, PIECE_BYTES, readInRanges } from "./ranged-read.ts";

/** What {@link LongLinkReads} needs. */
export interface LongLinkReadsOptions {
  /** This node, as site/process. */
  readonly self: string;
  readonly holders: Holders;
}

/** How one holder is asked. */
export interface LongLinkOpen {
  readonly span: OpenSpan;
  /** Bytes, when known. */
  readonly size: number | undefined;
  readonly ahead: AheadBuffer;
  readonly signal: AbortSignal;
}

/** One request fills a link only as far as one connection's window goes, and waits a round trip for the next. */
const LANES = 4;
/** Fetches that may keep pieces that came ahead, 6 MiB each; those beyond read in one request. */
const MOST_AT_ONCE = 16;

/** Opens blobs at holders: at those of other sites large ones are read by several requests at once. */
export class LongLinkReads {
  readonly #options: LongLinkReadsOptions;
  #running = 0;

  constructor(options: LongLinkReadsOptions) {
    this.#options = options;
  }

  /** Undefined when the holder does not have it. */
  async open(node: string, digest: Digest, options: LongLinkOpen): Promise<ServedBlob | undefined> {
    const { self, holders } = this.#options;
    const { span, size, ahead, signal } = options;
    const near = siteOf(node) === siteOf(self);
    const large = size !== undefined && size - span.start > LANES * PIECE_BYTES;
    if (near || !large || this.#running >= MOST_AT_ONCE) {
      ahead.clear();
      return holders.open(node, digest, { size, span, signal });
    }
    const first = firstRange(span.start, ahead);
    // Nothing is left to be asked for but the size.
    const asked = first.start >= size ? { start: 0, end: 0 } : first;
    const blob = await holders.open(node, digest, { size, span: asked, signal });
    return blob && this.#inRanges(node, blob, ahead);
  }

  #inRanges(holder: string, blob: ServedBlob, ahead: AheadBuffer): ServedBlob {
    return {
      size: blob.size,
      servedBy: blob.servedBy,
      route: blob.route,
      read: async (span: ByteSpan, sink: ByteSink, { signal }: { signal?: AbortSignal } = {}) => {
        this.#running += 1;
        try {
          await readInRanges({ blob, holder, span, sink, lanes: LANES, ahead, signal });
        } finally {
          this.#running -= 1;
        }
      },
      [Symbol.asyncDispose]: () => blob[Symbol.asyncDispose]() as Promise<void>,
    };
  }
}
