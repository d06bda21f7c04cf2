import type { EventLog, EventLogs, LogEntry } from "@meridian/eventlog";
import { ContentError } from "@meridian/oci";
import type { Clock, Logger, Timers } from "@meridian/runtime";
import { decodeRecord } from "./merge.ts";
import { StreamFold, type StreamFoldOptions } from "./stream-fold.ts";
import { originOf, type StreamOrigin } from "./stream-origin.ts";
import type { View } from "./view.ts";

/** New copies of peers' logs are looked for this often, in milliseconds. */
const LOOK_EVERY_MS = 1_000;

export interface FoldOptions {
  readonly site: string;
  readonly logs: EventLogs;
  readonly view: View;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
  /** Whether to show entries as soon as may be, which costs a little more: see `ahead` of a log's tail. */
  readonly ahead: boolean;
  /** Called when the site's own log has lost what was folded of it. */
  readonly onLost?: StreamFoldOptions["onLost"];
  /** Told the subject of each line of a tag's history that passes. */
  readonly onHistory?: (stream: string, subject: string) => void;
}

/** Folds all logs of the site, its own and the copies of its peers', into one view. */
export class Fold implements AsyncDisposable {
  readonly #options: FoldOptions;
  readonly #own: StreamOrigin;
  readonly #running = new Map<string, { fold: StreamFold; ended: Promise<void> }>();
  readonly #caughtUpListeners = new Set<() => void>();
  /** The streams that were there at the start; undefined until the log could be asked. */
  #atStart: ReadonlySet<string> | undefined;
  #stopping = new AbortController();
  #looking: Disposable | undefined;

  constructor(options: FoldOptions) {
    this.#options = options;
    this.#own = { stream: `META_${options.site}`, site: options.site, own: true };
  }

  /** Begins to fold; an unreachable log is tried again and again. */
  async start(): Promise<void> {
    this.#stopping = new AbortController();
    this.#follow(this.#own);
    await this.poll();
    this.#looking = this.#options.timers.every(LOOK_EVERY_MS, () => void this.poll());
  }

  /** Looks for streams that appeared. Never rejects. */
  async poll(): Promise<void> {
    try {
      const streams = await this.#options.logs.streams();
      const origins = streams.flatMap((stream) => originOf(stream, this.#options.site) ?? []);
      if (this.#stopping.signal.aborted) {
        return;
      }
      this.#atStart ??= new Set(origins.map(({ stream }) => stream)).add(this.#own.stream);
      for (const origin of origins) {
        this.#follow(origin);
      }
    } catch (error) {
      this.#options.log.debug("could not list the logs", { error });
    }
  }

  /** The site's own log while it can be read. */
  get ownLog(): EventLog | undefined {
    return this.#running.get(this.#own.stream)?.fold.connected;
  }

  /** True once the streams that were there at the start are folded up to the heads they had. */
  get caughtUp(): boolean {
    const streams = this.#atStart;
    return streams !== undefined && [...streams].every((stream) => this.#isCaughtUp(stream));
  }

  /** A copy that was dropped meanwhile has nothing left to fold. */
  #isCaughtUp(stream: string): boolean {
    const running = this.#running.get(stream);
    return running === undefined ? stream !== this.#own.stream : running.fold.caughtUp;
  }

  /** Calls `listener` each time the own log was opened, at the start or after it was away, and read to its head. */
  onOwnLogBack(listener: () => void): Disposable {
    this.#caughtUpListeners.add(listener);
    return { [Symbol.dispose]: () => void this.#caughtUpListeners.delete(listener) };
  }

  /**
   * Resolves with the own log once it is read.
   * @throws ContentError `unavailable` when the signal aborts first.
   */
  async untilOwnLog(signal: AbortSignal): Promise<EventLog> {
    const message = `the log of site ${this.#options.site} cannot be reached`;
    await this.#options.view.positions.until(() => this.ownLog !== undefined, message, signal);
    const log = this.ownLog;
    if (log === undefined) {
      throw new ContentError("unavailable", message);
    }
    return log;
  }

  /** Resolves once the own log is folded up to the sequence, held records set aside. */
  async untilRead(sequence: number, signal: AbortSignal): Promise<void> {
    const { view, site } = this.#options;
    const read = (): boolean => (view.cursor(this.#own)?.cursor.sequence ?? 0) >= sequence;
    await view.positions.until(read, `the log of site ${site} was not folded in time`, signal);
  }

  /** Folds an entry of the own log that was read before, and whose row the view has dropped since. */
  async again({ payload, sequence }: LogEntry): Promise<void> {
    await this.#options.view.fold(this.#own, [{ record: decodeRecord(payload), sequence, originSequence: sequence }]);
  }

  /** Resolves once the view shows the own log's record of that sequence. */
  async untilShown(sequence: number, signal: AbortSignal): Promise<void> {
    const { view, site } = this.#options;
    const shown = (): boolean => (view.positions.get(site)?.sequence ?? 0) >= sequence;
    await view.positions.until(shown, `the log of site ${site} was not folded in time`, signal);
  }

  /** Drops the view and folds everything again. Resolves once it is begun. */
  async rebuild(): Promise<void> {
    await this.stop();
    await this.#options.view.clear();
    this.#atStart = undefined;
    await this.start();
  }

  async stop(): Promise<void> {
    this.#looking?.[Symbol.dispose]();
    this.#stopping.abort();
    await Promise.all([...this.#running.values()].map(({ ended }) => ended));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    this.#caughtUpListeners.clear();
  }

  #follow(origin: StreamOrigin): void {
    if (this.#running.has(origin.stream)) {
      return;
    }
    const onCaughtUp = (): void => {
      if (origin.own) {
        for (const listener of this.#caughtUpListeners) {
          listener();
        }
      }
    };
    const onLost = origin.own ? this.#options.onLost : undefined;
    const fold = new StreamFold({ ...this.#options, origin, onCaughtUp, onLost });
    const ended = fold.run(this.#stopping.signal).finally(() => {
      this.#running.delete(origin.stream);
    });
    this.#running.set(origin.stream, { fold, ended });
  }
}
