import type { Digest } from "@meridian/oci";
import type { Clock, Timers } from "@meridian/runtime";
import type { ByteSink, ByteSpan } from "@meridian/storage";
import { failoverRead, holdBack, type OpenSpan, type ServedBlob } from "@meridian/transfer";
import type { Holders } from "./holders.ts";
import type { BlobNodeEvents } from "./telemetry.ts";

/** One read that is not stored. */
export interface DirectRead {
  readonly holders: readonly string[];
  readonly size: number;
  readonly span: ByteSpan;
  readonly sink: ByteSink;
  readonly signal?: AbortSignal;
}

/** Bytes passed from holders to a reader without being stored: cold ranges far ahead of a fetch, and full disks. */
export class DirectReads {
  readonly #deps: { holders: Holders; events: BlobNodeEvents; clock: Clock; timers: Timers };

  constructor(deps: { holders: Holders; events: BlobNodeEvents; clock: Clock; timers: Timers }) {
    this.#deps = deps;
  }

  /**
   * A whole blob is hashed on the way and its last piece held back; of a part of one, no hash is known and the holder
   * is trusted. @throws ContentError `unavailable`, `digest-mismatch`.
   */
  async read(digest: Digest, { holders, size, span, sink, signal }: DirectRead): Promise<void> {
    const whole = span.start === 0 && span.end === size;
    const checked = whole ? holdBack(digest, size, sink) : undefined;
    await this.#failover(digest, holders, span, checked ?? sink, { size, signal });
    await checked?.finish();
  }

  /** Size and name of the first holder that has the blob. @throws ContentError `not-found`, `unavailable`. */
  async locate(
    digest: Digest,
    holders: readonly string[],
    signal?: AbortSignal,
  ): Promise<Pick<ServedBlob, "size" | "servedBy">> {
    let found: Pick<ServedBlob, "size" | "servedBy"> | undefined;
    const nowhere: ByteSink = { write: () => {} };
    await this.#failover(digest, holders, { start: 0, end: 0 }, nowhere, {
      signal,
      onSourceOpened: (servedBy, { size }) => {
        found = { size, servedBy };
      },
    });
    return found as Pick<ServedBlob, "size" | "servedBy">;
  }

  #failover(
    digest: Digest,
    names: readonly string[],
    span: OpenSpan,
    sink: ByteSink,
    options: {
      size?: number;
      signal?: AbortSignal;
      onSourceOpened?: (source: string, blob: ServedBlob) => void;
    },
  ): Promise<unknown> {
    const { holders, events, clock, timers } = this.#deps;
    return failoverRead({
      ...options,
      sources: () => holders.usable(digest, names),
      open: (node, from, signal) => holders.open(node, digest, { size: options.size, span: from, signal }),
      span,
      sink,
      stallTimeoutMs: (node) => holders.stallTimeoutMs(node),
      onSourceFailed: (node, error) => {
        if (error.kind === "not-found") return;
        events.sourceReplaced(digest, node, error);
        holders.report(node, "failed");
      },
      clock,
      timers,
    });
  }
}
