import type { Clock, Logger, Timers } from "@meridian/runtime";
import type { BlobChecks, BlobStore } from "@meridian/storage";
import type { ReadLoad } from "./read-load.ts";
import { NO_SCRUB, readScrubRecord, type ScrubRecord, writeScrubRecord } from "./scrub-record.ts";
import type { BlobNodeEvents } from "./telemetry.ts";

/** What a {@link Scrubber} needs. */
export interface ScrubberOptions {
  readonly store: Pick<BlobStore, "list"> & { readonly checks: BlobChecks };
  readonly load: ReadLoad;
  readonly bytesPerSecond: number;
  /** From the beginning of one pass to that of the next, milliseconds. */
  readonly periodMs: number;
  /** How long after the start of the process it begins or goes on, milliseconds. */
  readonly firstAfterMs: number;
  /** Where its position is kept; absent: nowhere. */
  readonly file?: string;
  readonly events: BlobNodeEvents;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
}

/** What a scrub does now. */
export interface ScrubProgress extends Omit<ScrubRecord, "format" | "paused" | "running" | "after"> {
  readonly state: "idle" | "running" | "paused";
  /** When the next pass begins (Unix epoch, milliseconds); absent while one is under way or paused. */
  readonly nextAt?: number;
}

const SAVE_EVERY_MS = 10_000;
const LOOK_EVERY_MS = 30_000;
/** Beside readers it goes on at this part of its rate. */
const BESIDE_READERS = 1 / 4;
/** Waits shorter than this are saved up: a timer each would cost more than the hashing. Milliseconds. */
const LEAST_WAIT_MS = 10;

/** Re-hashes every copy of a node, over and over, slowly. Bad ones are moved aside by the store. */
export class Scrubber implements AsyncDisposable {
  readonly #options: ScrubberOptions;
  readonly #openedAt: number;
  readonly #looking: Disposable;
  #record: ScrubRecord;
  #stop: AbortController | undefined;
  #running: Promise<void> = Promise.resolve();
  #savedAt = 0;
  #owedMs = 0;

  private constructor(options: ScrubberOptions, record: ScrubRecord) {
    this.#options = options;
    this.#record = record;
    this.#openedAt = options.clock.monotonic();
    this.#looking = options.timers.every(Math.min(LOOK_EVERY_MS, options.firstAfterMs), () => this.#look());
  }

  /** Goes on where an earlier process was. */
  static async open(options: ScrubberOptions): Promise<Scrubber> {
    const kept = options.file === undefined ? undefined : await readScrubRecord(options.file);
    return new Scrubber(options, kept ?? NO_SCRUB);
  }

  get progress(): ScrubProgress {
    const { format: _format, paused, running, after: _after, ...counts } = this.#record;
    if (paused) return { state: "paused", ...counts };
    if (running) return { state: "running", ...counts };
    return { state: "idle", ...counts, nextAt: this.#dueAt() };
  }

  /** Goes on with a pass that was interrupted, else begins one. */
  async start(): Promise<void> {
    await this.#change({ paused: false });
    this.#run();
  }

  /** Stops where it is, until {@link Scrubber.start}, also over restarts. */
  async pause(): Promise<void> {
    await this.#change({ paused: true });
    this.#stop?.abort(new Error("paused"));
    await this.#running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#looking[Symbol.dispose]();
    this.#stop?.abort(new Error("the blob node stops"));
    await this.#running;
  }

  /** Unix epoch, milliseconds. */
  #dueAt(): number {
    const { clock, periodMs, firstAfterMs } = this.#options;
    const settledAt = clock.now() + Math.max(0, firstAfterMs - (clock.monotonic() - this.#openedAt));
    return Math.max(settledAt, this.#record.startedAt + periodMs);
  }

  #look(): void {
    const { clock, firstAfterMs } = this.#options;
    if (this.#record.paused || this.#stop !== undefined) return;
    const isSettled = clock.monotonic() - this.#openedAt >= firstAfterMs;
    if (this.#record.running ? isSettled : clock.now() >= this.#dueAt()) this.#run();
  }

  #run(): void {
    if (this.#stop !== undefined) return;
    const stop = new AbortController();
    this.#stop = stop;
    this.#running = this.#pass(stop.signal)
      .catch((error: unknown) => {
        if (!stop.signal.aborted) this.#options.log.error("the scrub broke off; it goes on later", { error });
      })
      .then(() => this.#save())
      .finally(() => {
        this.#stop = undefined;
      });
  }

  async #pass(signal: AbortSignal): Promise<void> {
    const { store, events, clock, timers } = this.#options;
    if (!this.#record.running) {
      await this.#change({ ...NO_SCRUB, running: true, startedAt: clock.now() });
    }
    for await (const { digest } of store.list()) {
      signal.throwIfAborted();
      if (digest <= this.#record.after) continue;
      const outcome = await store.checks.check(digest, { pace: (bytes) => this.#pace(bytes, signal), signal });
      this.#record = {
        ...this.#record,
        after: digest,
        blobs: this.#record.blobs + 1,
        damaged: this.#record.damaged + (outcome === "damaged" ? 1 : 0),
      };
      // Also where there is nothing to hash but many empty blobs, others have their turn.
      if (this.#record.blobs % 64 === 0) await timers.sleep(0, { signal });
      if (clock.monotonic() - this.#savedAt > SAVE_EVERY_MS) await this.#save();
    }
    await this.#change({ running: false, after: "", finishedAt: clock.now() });
    events.scrubbed(this.#record);
  }

  async #pace(bytes: number, signal: AbortSignal): Promise<void> {
    const { load, bytesPerSecond, timers } = this.#options;
    this.#record = { ...this.#record, bytes: this.#record.bytes + bytes };
    const rate = load.active > 0 ? bytesPerSecond * BESIDE_READERS : bytesPerSecond;
    this.#owedMs += (bytes / rate) * 1000;
    if (this.#owedMs < LEAST_WAIT_MS) return;
    const wait = this.#owedMs;
    this.#owedMs = 0;
    await timers.sleep(wait, { signal });
  }

  async #change(change: Partial<ScrubRecord>): Promise<void> {
    this.#record = { ...this.#record, ...change };
    await this.#save();
  }

  async #save(): Promise<void> {
    const { file, clock, log } = this.#options;
    this.#savedAt = clock.monotonic();
    if (file === undefined) return;
    await writeScrubRecord(file, this.#record).catch((error: unknown) => {
      log.warn("the scrub's position could not be kept", { error });
    });
  }
}
