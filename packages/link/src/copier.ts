import type { Cursor, EventLogs } from "@meridian/eventlog";
import { isContentError } from "@meridian/oci";
import type { ServiceClient } from "@meridian/rpc";
import type { Clock, Logger, Random, Timers } from "@meridian/runtime";
import type { linkV1 } from "@meridian/wire";
import { BackOff } from "./back-off.ts";
import { Copy } from "./copy.ts";
import { settleOldCopies } from "./old-copy.ts";
import { Quarantine, type QuarantinedEntry } from "./quarantine.ts";
import type { FoldedPosition } from "./reporter.ts";
import { probeSource, type SessionOptions, SILENCE_MS, type TailSource, tailFrom } from "./tail-session.ts";

export interface CopierOptions {
  /** The site that keeps the copy. */
  readonly site: string;
  /** The site whose log is copied. */
  readonly origin: string;
  readonly logs: EventLogs;
  /** A caller of the origin's LogTail; undefined while none is known. Asked at every connection. */
  readonly client: () => ServiceClient<typeof linkV1.LogTailService> | undefined;
  /** Other sites that may have a copy, best first. Asked whenever the origin cannot be reached. Default: none. */
  readonly relays?: () => readonly TailSource[];
  /** What every live gateway of this site has folded of the origin. Default: not reported. */
  readonly folded?: () => FoldedPosition | undefined;
  /**
   * Publishes in the site's own log, merged, those of the records that neither it nor the copy holds. Called, once the
   * copy has caught up, with what a copy held that did not fit the origin any more, because the origin had lost its log
   * or the tail of it. Default: such a copy is thrown away.
   */
  readonly adopt?: (origin: string, payloads: readonly Uint8Array[]) => Promise<void>;
  /** Logs of the origin that were created up to this reading are refused. Default: none. */
  readonly refusedUntil?: () => bigint;
  /** Called when the copy's stream has come to be: with the first entry ever, and after it was thrown away. */
  readonly onCreated?: () => void;
  readonly timers: Timers;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  /** Milliseconds without the origin after which a relay is tailed. Default 3 000. */
  readonly relayAfterMs?: number;
  /** Milliseconds between attempts to reach the origin while a relay is tailed. Default 1 000. */
  readonly directEveryMs?: number;
  /** How long an acknowledged append may be lost when the local log does not fsync first. Default 180 000. */
  readonly fsyncDelayMs?: number;
}

/** How a copy stands. */
export interface CopierStatus {
  readonly origin: string;
  /** The site that it is read from now; absent while none answers. */
  readonly via?: string;
  /** The last entry taken; absent while nothing was. */
  readonly copied?: Cursor;
  /** The origin's last sequence as far as it is known; absent before the first answer. */
  readonly head?: number;
  /** Milliseconds since the origin itself (no relay) was last heard. */
  readonly originSilentMs: number;
  /** Why the last connection ended; absent while one is open. */
  readonly failure?: string;
  /** Entries put aside since start, and the newest of them. */
  readonly quarantined: number;
  readonly quarantine: readonly QuarantinedEntry[];
}

/** Keeps one origin's log copied into this site's own logs, until disposed. */
export interface Copier extends AsyncDisposable {
  readonly origin: string;
  status(): CopierStatus;
}

/** Starts to copy; failures of any kind are retried for ever. */
export function startCopier(options: CopierOptions): Copier {
  return new RunningCopier(options);
}

const FIRST_RETRY_MS = 100;
const MAX_RETRY_MS = 2_000;

class RunningCopier implements Copier {
  readonly origin: string;
  readonly #options: CopierOptions;
  readonly #log: Logger;
  readonly #quarantine: Quarantine;
  readonly #backOff: BackOff;
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  #originHeardAt: number;
  #lastWasRelay = false;
  #relayTurn = 0;
  #via: string | undefined;
  #copied: Cursor | undefined;
  #head: number | undefined;
  #failure: string | undefined;
  /** Whether there may be copies put aside whose records still have to be published. */
  #oldCopies = true;
  #settling: Promise<void> = Promise.resolve();

  constructor(options: CopierOptions) {
    const { origin, log, timers, random, clock } = options;
    this.origin = origin;
    this.#options = options;
    this.#log = log.child({ origin });
    this.#quarantine = new Quarantine(this.#log);
    this.#backOff = new BackOff({ firstMs: FIRST_RETRY_MS, maxMs: MAX_RETRY_MS, timers, random });
    this.#originHeardAt = clock.monotonic();
    this.#running = this.#run();
  }

  status(): CopierStatus {
    return {
      origin: this.origin,
      ...(this.#via !== undefined && { via: this.#via }),
      ...(this.#copied && { copied: this.#copied }),
      ...(this.#head !== undefined && { head: this.#head }),
      ...(this.#failure !== undefined && { failure: this.#failure }),
      originSilentMs: this.#options.clock.monotonic() - this.#originHeardAt,
      quarantined: this.#quarantine.count,
      quarantine: this.#quarantine.entries,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
    await this.#settling;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        await this.#connect();
        this.#ended("the source ended the stream");
      } catch (error) {
        if (!signal.aborted) this.#ended(error instanceof Error ? error.message : String(error), error);
      }
      await this.#backOff.wait(signal).catch(() => {});
    }
    this.#via = undefined;
  }

  /** One connection, to the origin or to a relay, until it ends. */
  async #connect(): Promise<void> {
    const { logs } = this.#options;
    const copy = await Copy.open({ origin: this.origin, logs, quarantine: this.#quarantine, log: this.#log });
    this.#copied = copy.cursor;
    const source = this.#source();
    if (source === undefined) throw new Error("no address of the origin is known");
    this.#lastWasRelay = source.site !== this.origin;
    if (this.#lastWasRelay) await this.#tailRelay(source, copy);
    else await tailFrom(source, this.#session(copy, source, this.#stop.signal));
  }

  /** The origin, unless it was silent for long: then a relay, and the origin again after each relay that failed. */
  #source(): TailSource | undefined {
    const { client, relays, clock, relayAfterMs = SILENCE_MS } = this.#options;
    const direct = client();
    const origin = direct && { site: this.origin, client: direct };
    const silent = clock.monotonic() - this.#originHeardAt >= relayAfterMs;
    if (origin !== undefined && (!silent || this.#lastWasRelay)) return origin;
    const known = relays?.().filter(({ site }) => site !== this.origin && site !== this.#options.site) ?? [];
    return known.length === 0 ? origin : known[this.#relayTurn++ % known.length];
  }

  /** Tails a relay until the origin can be reached again. */
  async #tailRelay(relay: TailSource, copy: Copy): Promise<void> {
    const back = new AbortController();
    const signal = AbortSignal.any([this.#stop.signal, back.signal]);
    const looking = this.#lookForOrigin(copy, signal).then(
      () => back.abort(),
      () => {},
    );
    try {
      await tailFrom(relay, this.#session(copy, relay, signal));
    } catch (error) {
      if (!back.signal.aborted) throw error;
      this.#originHeardAt = this.#options.clock.monotonic();
      this.#backOff.reset();
    } finally {
      back.abort();
      await looking;
    }
  }

  /** Resolves once the origin would serve this copy; rejects with the signal's reason. */
  async #lookForOrigin(copy: Copy, signal: AbortSignal): Promise<void> {
    const { timers, directEveryMs = 1_000, client } = this.#options;
    for (;;) {
      await timers.sleep(directEveryMs, { signal });
      const direct = client();
      if (direct === undefined) continue;
      const source = { site: this.origin, client: direct };
      try {
        await probeSource(source, this.#session(copy, source, signal));
        return;
      } catch (error) {
        signal.throwIfAborted();
        this.#log.debug("the origin still cannot be reached", { error });
      }
    }
  }

  #session(copy: Copy, source: TailSource, signal: AbortSignal): SessionOptions {
    const { site, clock, timers, folded = () => undefined, fsyncDelayMs = 180_000 } = this.#options;
    const { refusedUntil = () => 0n } = this.#options;
    const direct = source.site === this.origin;
    const heard = (head: number): void => {
      this.#head = head;
      if (direct) this.#originHeardAt = clock.monotonic();
    };
    const events = {
      welcomed: (head: number) => {
        heard(head);
        this.#welcomed(source.site);
      },
      heard: (head: number) => {
        heard(head);
        this.#backOff.reset();
        if (this.#oldCopies && (copy.cursor?.sequence ?? 0) >= head) this.#settleOldCopies({ copy, direct });
      },
      copied: (cursor: Cursor) => {
        if (this.#copied === undefined) this.#options.onCreated?.();
        this.#copied = cursor;
      },
      restarted: (reason: string) => {
        this.#copied = undefined;
        this.#oldCopies = true;
        this.#log.warn("the copy did not fit its origin and is read again from the start", {
          reason,
          via: source.site,
        });
      },
    };
    const keepOld = this.#options.adopt !== undefined;
    return {
      site,
      origin: this.origin,
      copy,
      refusedUntil,
      folded,
      keepOld,
      events,
      clock,
      timers,
      fsyncDelayMs,
      signal,
    };
  }

  /** The copy has caught up: what only an earlier one held is published by this site. Tried again until it is done. */
  #settleOldCopies({ copy, direct }: { copy: Copy; direct: boolean }): void {
    const { adopt, logs } = this.#options;
    this.#oldCopies = false;
    if (adopt === undefined) return;
    const settle = async (): Promise<void> => {
      try {
        // A relay may not have come to the end of what the origin restored; the origin serves nobody before that.
        if (!direct && !(await copy.isWhole())) {
          this.#oldCopies = true;
          return;
        }
        const settled = await settleOldCopies(logs, this.origin, (payloads) => adopt(this.origin, payloads));
        if (settled) this.#log.warn("published what only the old copy of a peer's log may have held");
      } catch (error) {
        this.#oldCopies = true;
        if (!this.#stop.signal.aborted) this.#log.warn("an old copy could not be settled yet", { error });
      }
    };
    this.#settling = this.#settling.then(settle);
  }

  #welcomed(via: string): void {
    this.#via = via;
    this.#failure = undefined;
    this.#log.info("the log of a peer is being copied", { via, from: this.#copied?.sequence ?? 0 });
  }

  #ended(failure: string, error?: unknown): void {
    this.#via = undefined;
    if (failure === this.#failure) return;
    this.#failure = failure;
    if (isContentError(error, "fenced")) this.#log.error("an old life of a peer's log was refused", { failure });
    else this.#log.warn("the log of a peer is not being copied", { failure });
  }
}
