import type { Digest } from "@meridian/oci";
import type { Clock, Timers } from "@meridian/runtime";
import type { ByteSink, ByteSpan } from "@meridian/storage";
import { failoverRead, holdBack, type OpenSpan, type ServedBlob } from "@meridian/transfer";
import { type Holders, siteOf } from "./holders.ts";
import type { LinkGate } from "./link-gate.ts";
import type { BlobNodeEvents } from "./telemetry.ts";

/** One read that is not stored. */
export interface DirectRead {
  readonly holders: readonly string[];
  readonly size: number;
  readonly span: ByteSpan;
  readonly sink: ByteSink;
  readonly signal?: AbortSignal;
}

/** What {@link DirectReads} needs. */
export interface DirectReadsDeps {
  readonly holders: Holders;
  readonly gate: LinkGate;
  readonly events: BlobNodeEvents;
  readonly clock: Clock;
  readonly timers: Timers;
}

/** Bytes passed from holders to a reader without being stored: cold ranges far ahead of a fetch, and full disks. */
export class DirectReads {
  readonly #deps: DirectReadsDeps;

  constructor(deps: DirectReadsDeps) {
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
    let current = "";
    return failoverRead({
      ...options,
      sources: () => holders.usable(digest, names),
      open: (node, from, signal) => holders.open(node, digest, { size: options.size, span: from, signal }),
      span,
      sink: { write: (chunk) => this.#pass(current, chunk, sink, options.signal) },
      onSourceOpened: (node, blob) => {
        current = node;
        options.onSourceOpened?.(node, blob);
      },
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

  /** A link's rate holds for what is not stored, too. */
  #pass(node: string, chunk: Uint8Array, sink: ByteSink, signal: AbortSignal | undefined): void | Promise<void> {
    const { holders, gate } = this.#deps;
    const passed = holders.isNear(node) ? undefined : gate.pass(siteOf(node), chunk.byteLength, () => true, signal);
    return passed === undefined ? sink.write(chunk) : passed.then(() => sink.write(chunk));
  }
}
