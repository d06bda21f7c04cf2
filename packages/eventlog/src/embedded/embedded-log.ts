import { ContentError, ContentErrorKind } from "@meridian/oci";
import type { Timers } from "@meridian/runtime";
import { checkCursor, cursorOf } from "../cursor.ts";
import type {
  AppendOptions,
  Cursor,
  EventLog,
  Incarnation,
  LogEntry,
  NewEntry,
  ResumeCheck,
  TailBatch,
} from "../event-log.ts";
import { requireEntry } from "../stream-name.ts";
import type { AppendQueue, AppendTarget } from "./append-queue.ts";
import { idKey, type LogFile, readSequence, type StreamMeta } from "./log-file.ts";
import { StreamReader } from "./stream-reader.ts";

/** Idle tails say so this often, in milliseconds: more than once a second, whatever the timer's error. */
const HEARTBEAT_MS = 800;

/** One stream of an embedded log. Readers see what is on disk, never what a power loss could still take. */
export class EmbeddedLog implements EventLog, AppendTarget {
  readonly stream: string;
  readonly meta: StreamMeta;
  readonly durableAcks = true;
  sessionDue: boolean;
  dropped = false;
  readonly #queue: AppendQueue;
  readonly #reader: StreamReader;
  readonly #timers: Timers;
  readonly #tails = new Set<() => void>();
  #head: number;
  #closed = false;

  constructor(options: {
    stream: string;
    meta: StreamMeta;
    sessions: boolean;
    file: LogFile;
    queue: AppendQueue;
    timers: Timers;
  }) {
    this.stream = options.stream;
    this.meta = options.meta;
    this.sessionDue = options.sessions;
    this.#queue = options.queue;
    this.#timers = options.timers;
    this.#reader = new StreamReader(options.file, options.meta);
    this.#head = readSequence(options.file.heads.get(idKey(options.meta.id)));
  }

  async head(): Promise<{ incarnation: Incarnation; sequence: number }> {
    this.#requireOpen();
    return { incarnation: this.meta.incarnation, sequence: this.#head };
  }

  async last(subject: string): Promise<LogEntry | undefined> {
    this.#requireOpen();
    return this.#reader.last(subject);
  }

  async check(cursor: Cursor | undefined): Promise<ResumeCheck> {
    this.#requireOpen();
    return this.#check(cursor);
  }

  async cursorAt(sequence: number): Promise<Cursor> {
    this.#requireOpen();
    return this.#cursorAt(sequence);
  }

  async append(entry: NewEntry, options: AppendOptions = {}): Promise<number> {
    this.#requireOpen();
    requireEntry(this.stream, entry.subject, entry.payload);
    const { signal } = options;
    signal?.throwIfAborted();
    const appended = this.#queue.append(this, entry, options);
    return signal === undefined ? appended : abortable(appended, signal);
  }

  async *tail(after: number | Cursor, { signal }: { signal: AbortSignal }): AsyncGenerator<TailBatch> {
    this.#requireOpen();
    if (typeof after !== "number") {
      const check = this.#check(after);
      if (!check.ok) {
        throw new ContentError(ContentErrorKind.precondition, check.reason);
      }
    }
    let at = typeof after === "number" ? after : after.sequence;
    while (!signal.aborted) {
      this.#requireOpen();
      const head = this.#head;
      const entries = this.#reader.after(at, head);
      at = entries.at(-1)?.sequence ?? Math.max(at, head);
      yield { entries, head, cursor: this.#cursorAt(at) };
      if (at >= this.#head && !signal.aborted) {
        await this.#changed(signal);
      }
    }
  }

  /** Called by the queue: everything up to `head` is on disk. */
  synced(head: number): void {
    this.#head = head;
    this.#wake();
  }

  drop(): void {
    this.dropped = true;
    this.#wake();
  }

  close(): void {
    this.#closed = true;
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#tails) {
      wake();
    }
  }

  #changed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        timer[Symbol.dispose]();
        this.#tails.delete(done);
        signal.removeEventListener("abort", done);
        resolve();
      };
      const timer = this.#timers.after(HEARTBEAT_MS, done);
      this.#tails.add(done);
      signal.addEventListener("abort", done);
    });
  }

  #check(cursor: Cursor | undefined): ResumeCheck {
    const { incarnation } = this.meta;
    if (cursor === undefined) {
      return { ok: true, incarnation, head: this.#head };
    }
    return checkCursor(cursor, this.#reader.place(cursor.sequence, this.#head));
  }

  #cursorAt(sequence: number): Cursor {
    return cursorOf(sequence, this.#reader.place(sequence, this.#head));
  }

  #requireOpen(): void {
    if (this.dropped) {
      throw new ContentError(ContentErrorKind.unavailable, `log ${this.stream} was dropped`);
    }
    if (this.#closed) {
      throw new ContentError(ContentErrorKind.unavailable, "the log was closed");
    }
  }
}

/** The append goes on when its caller no longer waits. */
function abortable(appended: Promise<number>, signal: AbortSignal): Promise<number> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    appended.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
