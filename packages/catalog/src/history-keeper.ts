import type { EventLog, EventLogs, LogEntry } from "@meridian/eventlog";
import type { Clock, Logger, Timers } from "@meridian/runtime";
import { hlcMs } from "./hlc.ts";
import { subjectKind } from "./keys.ts";
import { decodeRecord } from "./merge.ts";
import type { HistoryKept } from "./tag-history.ts";

/** How often tags that were written are looked at, in milliseconds. */
const THIN_EVERY_MS = 60_000;
/** How often logs are looked through for what is too old, in milliseconds. */
const EXPIRE_EVERY_MS = 3_600_000;
/** Tags that are remembered between two looks; of others what exceeds goes after their next write. */
const MAX_WRITTEN = 10_000;
const MAX_READ = 2_000;

export interface HistoryKeeperOptions {
  readonly logs: EventLogs;
  readonly kept: HistoryKept;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
}

/**
 * Removes from the logs that this site holds, its own and its copies, what exceeds the history that is kept. A holder
 * does so for itself: no other log changes by it, and nobody has to agree.
 */
export class HistoryKeeper implements AsyncDisposable {
  readonly #options: HistoryKeeperOptions;
  /** Stream → beginnings of the subjects of tags that were written. */
  readonly #written = new Map<string, Set<string>>();
  /** Stream → how far it was looked through for what is too old. */
  readonly #expired = new Map<string, number>();
  readonly #stop = new AbortController();
  readonly #ticks: Disposable[] = [];
  #running: Promise<void> = Promise.resolve();

  constructor(options: HistoryKeeperOptions) {
    this.#options = options;
    const { timers } = options;
    this.#ticks.push(timers.every(THIN_EVERY_MS, () => this.#later(() => this.thin())));
    this.#ticks.push(timers.every(EXPIRE_EVERY_MS, () => this.#later(() => this.expire())));
    this.#later(() => this.expire());
  }

  /** A line was written. Called for each, so it only notes down. */
  noted(stream: string, subject: string): void {
    const tags = this.#written.get(stream) ?? new Set();
    this.#written.set(stream, tags);
    if (tags.size < MAX_WRITTEN) {
      tags.add(subject.slice(0, subject.lastIndexOf(".") + 1));
    }
  }

  /** Removes what each tag that was written has beyond its newest lines. */
  async thin(): Promise<void> {
    for (const [stream, tags] of this.#written) {
      this.#written.delete(stream);
      const log = await this.#options.logs.open(stream);
      for (const prefix of tags) {
        if (this.#stop.signal.aborted) {
          return;
        }
        await this.#thinTag(log, prefix);
      }
    }
  }

  /** Removes what is older than kept: a log's oldest entries come first, so each is looked at once. */
  async expire(): Promise<void> {
    const { logs } = this.#options;
    for (const stream of await logs.streams()) {
      if (/^(META|FROM)_/.test(stream)) {
        await this.#expireIn(stream);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    for (const tick of this.#ticks) {
      tick[Symbol.dispose]();
    }
    await this.#running;
  }

  async #thinTag(log: EventLog, prefix: string): Promise<void> {
    const { maxWrites } = this.#options.kept;
    for (let isWhole = false; !isWhole; ) {
      const lines = await log.under(prefix, { limit: MAX_READ });
      isWhole = lines.length < MAX_READ;
      const excess = lines.slice(0, Math.max(0, lines.length - maxWrites));
      await log.discard(excess);
    }
  }

  async #expireIn(stream: string): Promise<void> {
    const { clock, kept, logs } = this.#options;
    const log = await logs.open(stream);
    const reading = new AbortController();
    const signal = AbortSignal.any([reading.signal, this.#stop.signal]);
    const oldest = clock.now() - kept.maxAgeMs;
    for await (const { entries, head } of log.tail(this.#expired.get(stream) ?? 0, { signal })) {
      const lines = entries.filter(({ subject }) => subjectKind(subject) === "history");
      const young = lines.findIndex((line) => timeOf(line) >= oldest);
      const old = young === -1 ? lines : lines.slice(0, young);
      await log.discard(old);
      const firstYoung = lines[young];
      const last = firstYoung === undefined ? entries.at(-1)?.sequence : firstYoung.sequence - 1;
      if (last !== undefined) {
        this.#expired.set(stream, last);
      }
      if (firstYoung !== undefined || (last ?? head) >= head) {
        reading.abort();
      }
    }
  }

  /** One after the other, in the background. */
  #later(work: () => Promise<void>): void {
    this.#running = this.#running.then(work).catch((error: unknown) => {
      if (!this.#stop.signal.aborted) {
        this.#options.log.warn("the history of tags could not be tidied up, will try again", { error });
      }
    });
  }
}

/** What cannot be read is as old as can be. */
function timeOf({ payload }: LogEntry): number {
  try {
    return hlcMs(decodeRecord(payload).put?.hlc?.time ?? 0n);
  } catch {
    return 0;
  }
}
