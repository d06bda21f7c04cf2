import type { Cursor, EventLog, EventLogs, LogEntry, TailBatch } from "@meridian/eventlog";
import { isContentError } from "@meridian/oci";
import type { Clock, Logger, Timers } from "@meridian/runtime";
import { subjectKind } from "./keys.ts";
import { decodeStored } from "./merge.ts";
import type { StreamOrigin } from "./stream-origin.ts";
import type { Position } from "./version-token.ts";
import type { IncomingRecord, View } from "./view.ts";

/** How long a transaction of the fold should keep the event loop, in milliseconds. */
const SLICE_MS = 5;
const FIRST_SLICE = 100;
const MIN_SLICE = 50;
const MAX_SLICE = 5_000;
const MIN_PAUSE_MS = 50;
const MAX_PAUSE_MS = 1_000;

export interface StreamFoldOptions {
  readonly origin: StreamOrigin;
  readonly logs: EventLogs;
  readonly view: View;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
  /** Whether to show entries as soon as may be: see `ahead` of a log's tail. */
  readonly ahead: boolean;
  /** Told the subject of each line of a tag's history that passes. */
  readonly onHistory?: (stream: string, subject: string) => void;
  /** Called each time the stream was opened, checked and read to the head it had then. */
  readonly onCaughtUp: () => void;
}

/** Folds one stream into the view, from the stored cursor on, until told to stop. */
export class StreamFold {
  readonly #options: StreamFoldOptions;
  #connected: EventLog | undefined;
  #target = 0;
  #atHead = false;
  #caughtUp = false;
  #slice = FIRST_SLICE;
  /** Registers that were shown before the stream had them on disk: their places in the stream and at its origin. */
  #ahead: { readonly sequence: number; readonly position: Position }[] = [];
  #pauseMs = MIN_PAUSE_MS;

  constructor(options: StreamFoldOptions) {
    this.#options = options;
  }

  /** The stream while its tail runs. */
  get connected(): EventLog | undefined {
    return this.#connected;
  }

  /** True once everything was folded that was in the stream when it was first opened. */
  get caughtUp(): boolean {
    return this.#caughtUp;
  }

  /** Resolves when the signal aborts, or when the copy of a peer's log was dropped. */
  async run(signal: AbortSignal): Promise<void> {
    const { log, origin, timers, view } = this.#options;
    while (!signal.aborted) {
      try {
        if (!(await this.#exists())) {
          view.dropped(origin);
          return;
        }
        await this.#follow(signal);
      } catch (error) {
        if (signal.aborted) {
          return;
        }
        // Once, not at every try: a disk that stays full must not be filled with the same line.
        if (this.#pauseMs === MIN_PAUSE_MS) {
          log.warn("lost the tail of a log: trying again", { stream: origin.stream, error });
        }
      } finally {
        this.#connected = undefined;
        view.positions.wake();
      }
      await timers.sleep(this.#pauseMs, { signal }).catch(() => {});
      this.#pauseMs = Math.min(this.#pauseMs * 2, MAX_PAUSE_MS);
    }
  }

  /** Opening would make a stream that is not there: only the own one may be made. */
  async #exists(): Promise<boolean> {
    const { logs, origin } = this.#options;
    return origin.own || (await logs.streams()).includes(origin.stream);
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const { ahead, logs, origin, view } = this.#options;
    const stream = await logs.open(origin.stream);
    const from = await this.#resume(stream);
    this.#atHead = false;
    this.#ahead = [];
    // Of the site's own log news comes when its deliveries do: what would be shown sooner by it costs more than it saves.
    for await (const batch of stream.tail(from ?? 0, { signal, ahead: ahead && !origin.own })) {
      this.#connected = stream;
      await this.#take(stream, batch);
      this.#pauseMs = MIN_PAUSE_MS;
      this.#reached(batch);
      if (signal.aborted) {
        return;
      }
    }
    view.positions.wake();
  }

  /** The place to go on from; undefined to read all. */
  async #resume(stream: EventLog): Promise<Cursor | undefined> {
    const { log, origin, view } = this.#options;
    const cursor = view.cursor(origin)?.cursor;
    const check = await stream.check(cursor);
    this.#target = check.head;
    if (check.ok) {
      return cursor;
    }
    log.warn("a log is not the one that was folded: reading it again from its start", {
      stream: origin.stream,
      reason: check.reason,
    });
    await view.restart(origin);
    return undefined;
  }

  #reached({ entries }: TailBatch): void {
    const { origin, view, onCaughtUp } = this.#options;
    const folded = view.cursor(origin)?.cursor.sequence ?? 0;
    if (this.#atHead || (folded < this.#target && entries.length > 0)) {
      return;
    }
    this.#atHead = true;
    this.#caughtUp = true;
    view.positions.wake();
    onCaughtUp();
  }

  /** Folds a batch; the cursor moves with the last of it, so that what a crash repeats is a batch. */
  async #take(stream: EventLog, { entries, cursor, ahead }: TailBatch): Promise<void> {
    const { origin, view } = this.#options;
    const last = entries.at(-1);
    const known = view.cursor(origin);
    if (ahead) {
      await this.#takeAhead(entries);
      return;
    }
    const end = cursor ?? (last === undefined ? undefined : await stream.cursorAt(last.sequence));
    if (end === undefined || (last === undefined && known !== undefined && end.sequence <= known.cursor.sequence)) {
      return;
    }
    const stored = this.#storedAhead(end);
    const reached = this.#position(entries, end) ?? stored ?? known?.reached;
    await this.#inSlices(entries, (records, done) =>
      view.fold(origin, records, done ? { cursor: end, reached } : undefined),
    );
  }

  /** Shows what the stream does not have on disk yet. */
  async #takeAhead(entries: readonly LogEntry[]): Promise<void> {
    const { origin, view } = this.#options;
    for (const entry of entries) {
      const position = entry.origin && this.#position([entry], entry.origin);
      if (position !== undefined) {
        this.#ahead.push({ sequence: entry.sequence, position });
      }
    }
    const reached = this.#ahead.at(-1)?.position;
    await this.#inSlices(entries, (records, done) => view.foldAhead(origin, records, done ? reached : undefined));
  }

  /** The last of what was shown ahead that is on disk by now; undefined when nothing is. */
  #storedAhead({ sequence }: Cursor): Position | undefined {
    const stored = this.#ahead.findLastIndex((shown) => shown.sequence <= sequence);
    return stored < 0 ? undefined : this.#ahead.splice(0, stored + 1).at(-1)?.position;
  }

  /** Slices, so that the event loop is never kept for long. `fold` resolves with the milliseconds for which it kept it. */
  async #inSlices(
    entries: readonly LogEntry[],
    fold: (records: readonly IncomingRecord[], done: boolean) => Promise<number>,
  ): Promise<void> {
    const { clock, timers } = this.#options;
    for (let start = 0; ; ) {
      const begun = clock.monotonic();
      const slice = entries.slice(start, start + this.#slice);
      start += slice.length;
      const done = start >= entries.length;
      const records = this.#decode(slice);
      const decodedMs = clock.monotonic() - begun;
      const foldedMs = await fold(records, done);
      this.#adapt(slice.length, decodedMs + foldedMs);
      if (done) {
        return;
      }
      await timers.sleep(0);
    }
  }

  #adapt(records: number, tookMs: number): void {
    if (records === this.#slice && tookMs > 0) {
      const wanted = Math.round((records * SLICE_MS) / tookMs);
      this.#slice = Math.min(Math.max(wanted, MIN_SLICE, records >> 1), records * 2, MAX_SLICE);
    }
  }

  /** Where the last register among the entries stands in its origin's log; sessions and history count for nothing, for a peer may never get them. */
  #position(entries: readonly LogEntry[], { incarnation }: Cursor): Position | undefined {
    const last = entries.findLast(({ subject }) => isFolded(subject));
    if (last === undefined) {
      return undefined;
    }
    return this.#options.origin.own
      ? { incarnation, sequence: last.sequence }
      : last.origin && { incarnation: last.origin.incarnation, sequence: last.origin.sequence };
  }

  #decode(entries: readonly LogEntry[]): IncomingRecord[] {
    const records: IncomingRecord[] = [];
    for (const { subject, payload, sequence, origin, traceparent } of entries) {
      if (!isFolded(subject)) {
        if (subjectKind(subject) === "history") {
          this.#options.onHistory?.(this.#options.origin.stream, subject);
        }
        continue;
      }
      try {
        const originSequence = origin?.sequence ?? sequence;
        records.push({ ...decodeStored(payload), sequence, originSequence, traceparent });
      } catch (error) {
        if (!isContentError(error, "invalid")) {
          throw error;
        }
        this.#options.log.error("left out an entry that is no record", { subject, sequence, error });
      }
    }
    return records;
  }
}

/** True for the registers that views hold: not for the history, not for sessions, not for kinds of later versions. */
function isFolded(subject: string): boolean {
  const kind = subjectKind(subject);
  return kind !== undefined && kind !== "history";
}
