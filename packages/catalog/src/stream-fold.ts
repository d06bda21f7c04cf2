import {
  beginsLaterLife,
  type Cursor,
  compareIncarnations,
  confirmedCheck,
  decodeLife,
  type EventLog,
  type EventLogs,
  type LogEntry,
  type ResumeCheck,
  type TailBatch,
} from "@meridian/eventlog";
import { ContentError, isContentError } from "@meridian/oci";
import type { Clock, Logger, Timers } from "@meridian/runtime";
import { subjectKind } from "./keys.ts";
import type { IncomingLife } from "./lives.ts";
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
  /** Called when the stream, in the life of it that was folded, has lost what was folded. */
  readonly onLost?: ((check: Extract<ResumeCheck, { ok: false }>) => void) | undefined;
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
    const { log, origin, timers, view } = this.#options;
    const cursor = view.cursor(origin)?.cursor;
    const check = await confirmedCheck(stream, cursor, timers);
    this.#target = check.head;
    if (check.ok) {
      return cursor;
    }
    log.warn("a log is not the one that was folded: reading it again from its start", {
      stream: origin.stream,
      reason: check.reason,
    });
    if (check.lost) {
      this.#options.onLost?.(check);
    }
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
    if (end !== undefined) {
      this.#requireOneLife(entries, end, known?.cursor);
    }
    if (end === undefined || (last === undefined && known !== undefined && end.sequence <= known.cursor.sequence)) {
      return;
    }
    const stored = this.#storedAhead(end);
    const reached = this.#position(entries, end) ?? stored ?? known?.reached;
    await this.#inSlices(entries, ({ records, lives }, done) =>
      view.fold(origin, records, done ? { cursor: end, reached } : undefined, lives),
    );
  }

  /**
   * The own log may begin another life while it is tailed, and says so itself. What was folded is checked against it then.
   * @throws ContentError `unavailable` when it has.
   */
  #requireOneLife(entries: readonly LogEntry[], end: Cursor, known: Cursor | undefined): void {
    const { stream, own } = this.#options.origin;
    if (!own) {
      return;
    }
    const another = entries.some((entry) => beginsLaterLife(stream, entry, end.incarnation));
    if (another || (known !== undefined && compareIncarnations(known.incarnation, end.incarnation) !== 0)) {
      throw new ContentError("unavailable", `log ${stream} has begun another life`);
    }
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
    await this.#inSlices(entries, ({ records, lives }, done) =>
      view.foldAhead(origin, records, done ? reached : undefined, lives),
    );
  }

  /** The last of what was shown ahead that is on disk by now; undefined when nothing is. */
  #storedAhead({ sequence }: Cursor): Position | undefined {
    const stored = this.#ahead.findLastIndex((shown) => shown.sequence <= sequence);
    return stored < 0 ? undefined : this.#ahead.splice(0, stored + 1).at(-1)?.position;
  }

  /** Slices, so that the event loop is never kept for long. `fold` resolves with the milliseconds for which it kept it. */
  async #inSlices(
    entries: readonly LogEntry[],
    fold: (incoming: Incoming, done: boolean) => Promise<number>,
  ): Promise<void> {
    const { clock, timers } = this.#options;
    for (let start = 0; ; ) {
      const begun = clock.monotonic();
      const slice = entries.slice(start, start + this.#slice);
      start += slice.length;
      const done = start >= entries.length;
      const incoming = this.#decode(slice);
      const decodedMs = clock.monotonic() - begun;
      const foldedMs = await fold(incoming, done);
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

  #decode(entries: readonly LogEntry[]): Incoming {
    const records: IncomingRecord[] = [];
    const lives: IncomingLife[] = [];
    for (const { subject, payload, sequence, origin, traceparent } of entries) {
      if (!isFolded(subject)) {
        if (subjectKind(subject) === "history") {
          this.#options.onHistory?.(this.#options.origin.stream, subject);
        }
        continue;
      }
      try {
        const originSequence = origin?.sequence ?? sequence;
        if (isLife(subject)) {
          lives.push({ life: decodeLife(payload), payload, originSequence });
          continue;
        }
        records.push({ ...decodeStored(payload), sequence, originSequence, traceparent });
      } catch (error) {
        if (!isContentError(error, "invalid")) {
          throw error;
        }
        this.#options.log.error("left out an entry that is no record", { subject, sequence, error });
      }
    }
    return { records, lives };
  }
}

/** A batch, taken apart. */
interface Incoming {
  readonly records: readonly IncomingRecord[];
  readonly lives: readonly IncomingLife[];
}

/** True for what views hold: not for the history, not for sessions, not for kinds of later versions. */
function isFolded(subject: string): boolean {
  const kind = subjectKind(subject);
  return isLife(subject) || (kind !== undefined && kind !== "history");
}

/** True for what a log says of its own lives: views hold it, though it is no register. */
function isLife(subject: string): boolean {
  return subject.split(".", 3)[2] === "life";
}
