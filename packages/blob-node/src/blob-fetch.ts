import { ContentError, type Digest, isContentError } from "@meridian/oci";
import type { Clock, Timers } from "@meridian/runtime";
import type { BlobInfo, BlobStore, ByteSink, ByteSpan } from "@meridian/storage";
import { failoverRead, HELD_BACK_BYTES } from "@meridian/transfer";
import { type SpanContext, TraceFlags, trace } from "@opentelemetry/api";
import { AheadBuffer } from "./ahead-buffer.ts";
import { FetchPartial } from "./fetch-partial.ts";
import type { FetchClass, FetchTicket } from "./fetch-scheduler.ts";
import { type Holders, siteOf } from "./holders.ts";
import type { LinkGate } from "./link-gate.ts";
import type { LongLinkReads } from "./long-link-reads.ts";
import { ProgressSignal } from "./progress-signal.ts";
import type { Quarantine } from "./quarantine.ts";
import type { BlobNodeEvents } from "./telemetry.ts";
import { whenAborted } from "./when-aborted.ts";

const tracer = trace.getTracer("@meridian/blob-node");

/** What a {@link BlobFetch} works with. */
export interface BlobFetchDeps {
  readonly store: BlobStore;
  readonly holders: Holders;
  readonly reads: LongLinkReads;
  readonly gate: LinkGate;
  readonly quarantine: Quarantine;
  readonly events: BlobNodeEvents;
  readonly clock: Clock;
  readonly timers: Timers;
}

/** What of an arriving blob may be sent on now. */
export interface FetchView {
  /** `again`: the bytes so far were wrong, and are being fetched anew under the next epoch. */
  readonly epoch: number;
  /** Bytes of the partial that may be sent; the last piece is not among them until the hash is right. */
  readonly readable: number;
  readonly state: "running" | "stored" | "failed";
  readonly error?: unknown;
}

// Readers are woken when so much more has come, or so long after the first byte that they do not know of: one that is
// woken for every packet would spend its time on small reads.
const ANNOUNCE_BYTES = 256 * 1024;
const ANNOUNCE_WITHIN_MS = 10;

/**
 * The one fetch of a blob on this node: holders are replaced as they fail, a partial is gone on with, the blob becomes
 * visible when its hash is right. Nobody who waits for it can stop it.
 */
export class BlobFetch {
  readonly digest: Digest;
  /** Settles when the blob is stored here, or cannot be. */
  readonly stored: Promise<BlobInfo>;
  readonly #deps: BlobFetchDeps;
  readonly #ticket: FetchTicket;
  readonly #stop = new AbortController();
  readonly #progress = new ProgressSignal();
  readonly #holders: string[] = [];
  readonly #ahead = new AheadBuffer();
  readonly #expectedSize: number | undefined;
  #alone = false;
  #partial: FetchPartial | undefined;
  #size: number | undefined;
  #holder = "";
  #epoch = 0;
  #unannounced = 0;
  #announcing: Disposable | undefined;
  #moved = 0;
  #fetched = false;
  #unwanted = false;
  #state: FetchView["state"] = "running";
  #error: unknown;
  #span: SpanContext | undefined;

  /** `size`: as the asker knows it, in bytes; a hint. */
  constructor(
    digest: Digest,
    { holders, size }: { readonly holders: readonly string[]; readonly size?: number },
    ticket: FetchTicket,
    deps: BlobFetchDeps,
  ) {
    this.digest = digest;
    this.#expectedSize = size;
    this.#ticket = ticket;
    this.#deps = deps;
    this.addHolders(holders);
    this.stored = this.#run();
    this.stored.catch(() => {});
  }

  /** Resolves with the size once a holder has told it. @throws what the fetch failed with. */
  async opened(signal?: AbortSignal): Promise<number> {
    while (this.#size === undefined) {
      if (this.#state === "failed") throw this.#error;
      await this.changed(signal);
    }
    return this.#size;
  }

  /** Size of the blob; 0 while it is not known. */
  get size(): number {
    return this.#size ?? 0;
  }

  /** The holder that sends at present, as site/node; empty while there is none. */
  get holder(): string {
    return this.#holder;
  }

  /** Bytes here so far. */
  get received(): number {
    return this.#partial?.offset ?? (this.#state === "stored" ? this.size : 0);
  }

  /** Whether it was this fetch that stored the blob; false when the blob was there already. */
  get fetched(): boolean {
    return this.#fetched;
  }

  /** Bytes that this fetch moved over links. */
  get moved(): number {
    return this.#moved;
  }

  get view(): FetchView {
    const whole = this.#size ?? 0;
    const releasable = Math.max(0, whole - HELD_BACK_BYTES);
    const readable = this.#state === "stored" ? whole : Math.min(this.received, releasable);
    return { epoch: this.#epoch, readable, state: this.#state, error: this.#error };
  }

  /** More nodes that hold the blob, as another asker knows them. */
  addHolders(holders: readonly string[]): void {
    for (const holder of holders) if (!this.#holders.includes(holder)) this.#holders.push(holder);
  }

  /** Lets the active span of somebody else who waits for it lead to this fetch's own, when both are sampled. */
  linkWaiter(): void {
    const span = this.#span;
    if (span !== undefined && span.traceFlags & TraceFlags.SAMPLED) trace.getActiveSpan()?.addLink({ context: span });
  }

  /** What it is fetched for at present. */
  get class(): FetchClass {
    return this.#ticket.class;
  }

  /** Somebody waits for it now. */
  promote(): void {
    this.#ticket.promote();
  }

  /** Resolves when the view has changed. */
  changed(signal?: AbortSignal): Promise<void> {
    return this.#progress.next(signal);
  }

  /** Sends bytes of the partial, below `view.readable`. Throws when the partial is gone meanwhile: look at the view again. */
  readPartial(span: ByteSpan, sink: ByteSink, options: { signal?: AbortSignal }): Promise<void> {
    if (this.#partial === undefined) return Promise.reject(new ContentError("unavailable", "the partial is gone"));
    return this.#partial.read(span, sink, options);
  }

  /** Stops it, and drops what has arrived: nobody wants the blob any more. */
  async drop(): Promise<void> {
    this.#unwanted = true;
    await this.cancel("the blob is not wanted any more");
  }

  /** Stops it, and keeps what has arrived for the next time. */
  async cancel(why = "the blob node stops"): Promise<void> {
    this.#stop.abort(new ContentError("unavailable", why));
    this.#ticket.cancel();
    await this.stored.catch(() => {});
  }

  #run(): Promise<BlobInfo> {
    return tracer.startActiveSpan("replicate.blob", async (span) => {
      this.#span = span.spanContext();
      try {
        return await this.#runTraced();
      } finally {
        span.setAttribute("meridian.bytes", this.#moved);
        span.end();
      }
    });
  }

  async #runTraced(): Promise<BlobInfo> {
    const { events, store } = this.#deps;
    try {
      using _slot = await Promise.race([this.#ticket.granted, whenAborted(this.#stop.signal)]);
      // It may have been stored between the asker's look and this one.
      const info = (await store.stat(this.digest)) ?? (await this.#fetch());
      this.#size = info.size;
      this.#settle("stored");
      return info;
    } catch (error) {
      if (!isContentError(error, "not-found") && !this.#stop.signal.aborted) events.fetchFailed(this.digest, error);
      this.#settle("failed", error);
      throw error;
    }
  }

  async #fetch(): Promise<BlobInfo> {
    const partial = await FetchPartial.open(this.#deps.store, this.digest, this.#expectedSize);
    this.#partial = partial;
    try {
      for (;;) {
        const info = this.#alone ? await this.#fillFromEachAlone(partial) : await this.#fill(partial, this.#holders);
        if (info !== undefined) return info;
      }
    } catch (error) {
      if (this.#unwanted) await partial.discard().catch(() => {});
      else await partial.leave(error);
      throw this.#explained(error);
    } finally {
      this.#partial = undefined;
      this.#ahead.clear();
    }
  }

  /** When a holder was found to lie, who asks must not turn to it because the others cannot be reached. */
  #explained(error: unknown): unknown {
    const lied = this.#holders.some((node) => this.#deps.quarantine.has(node, this.digest));
    if (!lied || !isContentError(error, "unavailable") || this.#stop.signal.aborted) return error;
    return new ContentError("digest-mismatch", `a holder sent wrong bytes, and no other is left: ${error.message}`, {
      cause: error,
    });
  }

  /** Undefined when the bytes were wrong and are gone: to be tried again. */
  async #fill(partial: FetchPartial, sources: readonly string[]): Promise<BlobInfo | undefined> {
    const begunWith = partial.offset;
    try {
      await this.#receive(partial, sources);
    } catch (error) {
      // What was there is longer than the blob: left by a holder that lied about the size.
      if (this.#size === undefined || begunWith <= this.#size) throw error;
      await this.#startOver(partial);
      return undefined;
    }
    return this.#commit(partial);
  }

  /** `sources` may grow meanwhile. */
  async #receive(partial: FetchPartial, sources: readonly string[]): Promise<void> {
    const { holders, reads, clock, timers, events } = this.#deps;
    const ahead = this.#ahead;
    let current = "";
    await failoverRead({
      sources: () => this.#inWindow(holders.usable(this.digest, sources)),
      open: (node, span, signal) =>
        reads.open(node, this.digest, { size: this.#size ?? this.#expectedSize, span, ahead, signal }),
      span: { start: partial.offset },
      size: this.#size,
      sink: { write: (chunk) => this.#take(partial, chunk, current) },
      stallTimeoutMs: (node) => holders.stallTimeoutMs(node),
      onSourceOpened: (node, blob) => {
        current = node;
        partial.alsoFrom(ahead.holders);
        this.#sourceOpened(node, blob.size);
      },
      onSourceFailed: (node, error) => {
        if (error.kind === "not-found") return;
        events.sourceReplaced(this.digest, node, error);
        holders.report(node, "failed");
      },
      clock,
      timers,
      signal: this.#stop.signal,
    });
    if (current !== "") holders.report(current, "ok");
  }

  /** Holders whose link is open for what this fetch is for. */
  #inWindow(holders: readonly string[]): readonly string[] {
    return holders.filter((node) => this.#isOpen(node));
  }

  #isOpen(node: string): boolean {
    const { gate, holders } = this.#deps;
    return holders.isNear(node) || gate.isOpen(siteOf(node), this.class);
  }

  async #take(partial: FetchPartial, chunk: Uint8Array, holder: string): Promise<void> {
    const { gate, holders } = this.#deps;
    const bytes = chunk.byteLength;
    await partial.take(chunk, holder);
    this.#arrived(bytes, holder);
    if (holders.isNear(holder)) return;
    await gate.pass(siteOf(holder), bytes, () => this.class === "pull", this.#stop.signal);
    if (!this.#isOpen(holder)) throw new ContentError("unavailable", `the window of the link from ${holder} is over`);
  }

  /** After a mixture was wrong: from one holder at a time, so that a liar is known. */
  async #fillFromEachAlone(partial: FetchPartial): Promise<BlobInfo | undefined> {
    let failure: unknown = new ContentError("unavailable", "no trustworthy holder is left");
    for (const holder of this.#deps.holders.usable(this.digest, this.#holders)) {
      try {
        await this.#startOver(partial);
        const info = await this.#fill(partial, [holder]);
        if (info !== undefined) return info;
      } catch (error) {
        if (this.#stop.signal.aborted || isContentError(error, "no-space")) throw error;
        failure = error;
      }
    }
    throw failure;
  }

  #sourceOpened(node: string, size: number): void {
    this.#holder = node;
    this.#size = size;
    this.#announce();
  }

  #arrived(bytes: number, holder: string): void {
    this.#moved += bytes;
    this.#deps.events.bytesFrom(holder, bytes);
    this.#unannounced += bytes;
    if (this.#unannounced >= ANNOUNCE_BYTES) this.#announce();
    else this.#announcing ??= this.#deps.timers.after(ANNOUNCE_WITHIN_MS, () => this.#announce());
  }

  #announce(): void {
    this.#announcing?.[Symbol.dispose]();
    this.#announcing = undefined;
    this.#unannounced = 0;
    this.#progress.changed();
  }

  async #commit(partial: FetchPartial): Promise<BlobInfo | undefined> {
    const { events, quarantine } = this.#deps;
    try {
      const info = await partial.commit();
      this.#fetched = true;
      events.fetched(this.digest, info.size, this.#moved, partial.contributors);
      return info;
    } catch (error) {
      if (!isContentError(error, "digest-mismatch")) throw error;
    }
    const liar = partial.soleContributor;
    if (liar === undefined) {
      events.mixedBytesWrong(this.digest, partial.contributors);
      this.#alone = true;
    } else {
      quarantine.add(liar, this.digest);
      events.replicaQuarantined(this.digest, liar);
    }
    await this.#startOver(partial);
    return undefined;
  }

  /** Drops what has arrived; readers that were sent some of it are cut off by the new epoch. */
  async #startOver(partial: FetchPartial): Promise<void> {
    this.#epoch += 1;
    this.#size = undefined;
    this.#ahead.clear();
    this.#announce();
    await partial.startOver();
  }

  #settle(state: "stored" | "failed", error?: unknown): void {
    this.#state = state;
    this.#error = error;
    this.#announce();
  }
}
