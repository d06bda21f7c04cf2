import { isContentError } from "@meridian/oci";
import { collectionV1 } from "@meridian/wire";
import { sweepBlobs } from "./blob-sweep.ts";
import type { CollectionConfig } from "./config.ts";
import { sweepDeletions } from "./deletion-sweep.ts";
import { sweepLinks } from "./link-sweep.ts";
import { watchNeed } from "./need-watch.ts";
import { sweepOrphans } from "./orphan-sweep.ts";
import { Pacer } from "./pacer.ts";
import { Pass } from "./pass.ts";
import type { CollectionSettingsStore } from "./settings-file.ts";
import type { SweepParts } from "./sweep.ts";

/** What {@link Collector} needs. */
export interface CollectorOptions extends Omit<SweepParts, "graceMs"> {
  readonly config: CollectionConfig;
  readonly settings: CollectionSettingsStore;
}

/** Between two attempts to ask a member that cannot be asked, in milliseconds. */
const ASK_AGAIN_MS = 2_000;
/** The first pass begins so long after a start: the logs are read first, in milliseconds. */
const FIRST_AFTER_MS = 60_000;

const STOPPED = Symbol("an operator paused it");

/**
 * Collects what this site may remove: in passes, one after another and from time to time. A member that cannot be asked
 * makes a pass wait where it is; an operator's pause ends it, until it is resumed. Only the replicator of a
 * site that does its work collects.
 */
export class Collector implements AsyncDisposable {
  readonly #options: CollectorOptions;
  readonly #pacer: Pacer;
  readonly #stop = new AbortController();
  readonly #open = new DisposableStack();
  #pass: Pass | undefined;
  #running: { readonly done: Promise<void>; readonly end: AbortController } | undefined;
  #reason = "";
  #next: { readonly at: number; readonly timer: Disposable } | undefined;

  constructor(options: CollectorOptions) {
    this.#options = options;
    const perSecond = (): number => this.blobsPerSecond;
    this.#pacer = new Pacer({ ...options, perSecond });
    this.#open.use(watchNeed(options));
    this.#schedule(Math.min(FIRST_AFTER_MS, options.config.everyMs));
  }

  get blobsPerSecond(): number {
    return this.#options.settings.settings.blobsPerSecond ?? this.#options.config.blobsPerSecond;
  }

  get isPaused(): boolean {
    return this.#options.settings.settings.paused;
  }

  /** What a pass waits for, one line each; none while it waits for nothing. */
  get waitingFor(): readonly string[] {
    return this.#reason === "" ? [] : this.#reason.split("\n");
  }

  status(): Omit<collectionV1.StatusResponse, "$typeName" | "pass"> & { pass?: Omit<collectionV1.Pass, "$typeName"> } {
    const { config, topology } = this.#options;
    return {
      site: topology.site,
      state: this.#state,
      reason: this.#reason,
      nextMs: BigInt(Math.round(this.#next?.at ?? 0)),
      blobsPerSecond: this.blobsPerSecond,
      graceMs: BigInt(config.graceMs),
      silent: [...this.waitingFor],
      ...(this.#pass !== undefined && { pass: this.#pass.message() }),
    };
  }

  get #state(): collectionV1.CollectionState {
    const { PAUSED, WAITING, RUNNING, IDLE } = collectionV1.CollectionState;
    if (this.isPaused) return PAUSED;
    if (this.#running === undefined) return IDLE;
    return this.#reason === "" ? RUNNING : WAITING;
  }

  /** Begins a pass, unless one is under way; a dry run removes and marks nothing. */
  begin({ dryRun }: { readonly dryRun: boolean }): void {
    if (this.#running !== undefined || this.#stop.signal.aborted) return;
    this.#next?.timer[Symbol.dispose]();
    this.#next = undefined;
    const pass = new Pass({ dryRun, startedAt: this.#options.clock.now() });
    const end = new AbortController();
    this.#pass = pass;
    const done = this.#run(pass, AbortSignal.any([this.#stop.signal, end.signal])).finally(() => {
      this.#running = undefined;
      this.#schedule(this.#options.config.everyMs);
    });
    this.#running = { done, end };
  }

  /** Ends the pass under way, and begins none until {@link resume}. Durable when it resolves. */
  async pause(): Promise<void> {
    const { settings } = this.#options;
    await settings.set({ ...settings.settings, paused: true });
    this.#running?.end.abort(STOPPED);
    await this.#running?.done;
    this.#next?.timer[Symbol.dispose]();
    this.#next = undefined;
  }

  async resume(): Promise<void> {
    const { settings } = this.#options;
    await settings.set({ ...settings.settings, paused: false });
    this.begin({ dryRun: false });
  }

  /** Durable when it resolves. */
  async setRate(blobsPerSecond: number): Promise<void> {
    const { settings } = this.#options;
    await settings.set({ ...settings.settings, blobsPerSecond });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#open.dispose();
    this.#next?.timer[Symbol.dispose]();
    this.#stop.abort();
    await this.#running?.done;
  }

  #schedule(afterMs: number): void {
    const { clock, config, timers } = this.#options;
    if (config.everyMs === 0 || this.isPaused || this.#stop.signal.aborted) return;
    const timer = timers.after(afterMs, () => {
      this.#next = undefined;
      this.begin({ dryRun: false });
    });
    this.#next = { at: clock.now() + afterMs, timer };
  }

  /** Never rejects. */
  async #run(pass: Pass, signal: AbortSignal): Promise<void> {
    const { clock, config, log, telemetry } = this.#options;
    const parts = { ...this.#options, graceMs: config.graceMs };
    const run = {
      pass,
      signal,
      untilAsked: <T>(ask: () => Promise<T>): Promise<T> => this.#untilAsked(ask, signal),
      pace: (count: number): Promise<void> => this.#pacer.passed(count, signal),
    };
    try {
      await this.#options.timers.sleep(0, { signal });
      await sweepOrphans(parts, run);
      await sweepLinks(parts, run);
      await sweepBlobs(parts, run);
      await sweepDeletions(config.retireAfterMs, parts, run);
    } catch (error) {
      if (signal.reason === STOPPED) pass.failure = "paused";
      else if (signal.aborted) pass.failure = "the process stopped";
      else {
        pass.failure = error instanceof Error ? error.message : String(error);
        log.error("a pass of the collection failed; the next one goes on", { error });
      }
    }
    this.#reason = "";
    pass.phase = "";
    pass.finishedAt = clock.now();
    telemetry.passed(pass);
    const { links, manifests, blobs } = pass.taken;
    if (!pass.dryRun && links.count + manifests.count + blobs.count > 0)
      log.info("collected what nothing needs", { links, manifests, blobs, ms: pass.finishedAt - pass.startedAt });
  }

  async #untilAsked<T>(ask: () => Promise<T>, signal: AbortSignal): Promise<T> {
    const { log, timers } = this.#options;
    for (;;) {
      signal.throwIfAborted();
      try {
        const answer = await ask();
        this.#reason = "";
        return answer;
      } catch (error) {
        signal.throwIfAborted();
        if (!isContentError(error, "unavailable")) throw error;
        if (this.#reason === "") log.warn("the collection waits for who cannot be asked", { error });
        this.#reason = error.message;
        await timers.sleep(ASK_AGAIN_MS, { signal });
      }
    }
  }
}
