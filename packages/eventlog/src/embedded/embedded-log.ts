import { ContentError, ContentErrorKind } from "@meridian/oci";
import type { Timers } from "@meridian/runtime";
import { abortable } from "../abortable.ts";
import { checkCursor, cursorOf, requireFit } from "../cursor.ts";
import type {
  AppendOptions,
  ConditionalEntry,
  Cursor,
  DiscardedEntry,
  EventLog,
  Incarnation,
  LogEntry,
  NewEntry,
  ResumeCheck,
  TailBatch,
} from "../event-log.ts";
import { requireEntry } from "../stream-name.ts";
import { traced } from "../traced.ts";
import type { AppendQueue, AppendTarget } from "./append-queue.ts";
import { idKey, type LogFile, readSequence, type StreamMeta, sequenceKey, subjectKey } from "./log-file.ts";
import { StreamReader } from "./stream-reader.ts";

/** Idle tails say so this often, in milliseconds: more than once a second, whatever the timer's error. */
const HEARTBEAT_MS = 750;

interface Life {
  readonly meta: StreamMeta;
  readonly reader: StreamReader;
  /** Wakes idle tails, all at once. */
  readonly heart: Disposable;
  /** The last sequence that is on disk. */
  head: number;
}

/**
 * One stream of an embedded log, through all its lives: after a drop every method throws `unavailable` until it is opened
 * again. Readers see what is on disk, never what a power loss could still take.
 */
export class EmbeddedLog implements EventLog, AppendTarget {
  readonly stream: string;
  readonly durableAcks = true;
  sessionDue = false;
  readonly #file: LogFile;
  readonly #queue: AppendQueue;
  readonly #timers: Timers;
  readonly #tails = new Set<() => void>();
  #life: Life | undefined;

  constructor(stream: string, file: LogFile, queue: AppendQueue, timers: Timers) {
    this.stream = stream;
    this.#file = file;
    this.#queue = queue;
    this.#timers = timers;
  }

  get meta(): StreamMeta | undefined {
    return this.#life?.meta;
  }

  /** Makes the stream usable, with the life that the file knows. `sessions` is only looked at for a life new to this process. */
  begin(meta: StreamMeta, sessions: boolean): void {
    if (this.#life?.meta.id === meta.id) {
      return;
    }
    const head = readSequence(this.#file.heads.get(idKey(meta.id)));
    this.#life?.heart[Symbol.dispose]();
    const heart = this.#timers.every(HEARTBEAT_MS, () => this.#wake());
    this.#life = { meta, head, heart, reader: new StreamReader(this.stream, this.#file, meta) };
    this.sessionDue = sessions;
  }

  /** The stream was dropped, or the file is about to be closed. */
  end(): void {
    this.#life?.heart[Symbol.dispose]();
    this.#life = undefined;
    this.#wake();
  }

  async head(): Promise<{ incarnation: Incarnation; sequence: number }> {
    const { meta, head } = this.#alive();
    return { incarnation: meta.incarnation, sequence: head };
  }

  async last(subject: string): Promise<LogEntry | undefined> {
    return this.#alive().reader.last(subject);
  }

  async under(prefix: string, { after = 0, limit }: { after?: number; limit: number }): Promise<LogEntry[]> {
    return this.#alive().reader.under(prefix, { after, limit });
  }

  async check(cursor: Cursor | undefined): Promise<ResumeCheck> {
    const { meta, head, reader } = this.#alive();
    if (cursor === undefined) {
      return { ok: true, incarnation: meta.incarnation, head };
    }
    return checkCursor(cursor, reader.place(cursor.sequence, head));
  }

  async cursorAt(sequence: number): Promise<Cursor> {
    const { head, reader } = this.#alive();
    return cursorOf(sequence, reader.place(sequence, head));
  }

  async append(entry: NewEntry, options: AppendOptions = {}): Promise<number> {
    this.#alive();
    requireEntry(this.stream, entry.subject, entry.payload);
    const { signal, expectedLastSubjectSequence, expectedLastSequence } = options;
    signal?.throwIfAborted();
    const one = [{ entry: traced(entry), expectedLastSubjectSequence }];
    const [sequence] = await abortable(this.#queue.append(this, one, { expectedLastSequence }), signal);
    return sequence!;
  }

  async appendAll(entries: readonly ConditionalEntry[], { signal }: { signal?: AbortSignal } = {}): Promise<number[]> {
    this.#alive();
    for (const { entry } of entries) {
      requireEntry(this.stream, entry.subject, entry.payload);
    }
    signal?.throwIfAborted();
    const all = entries.map(({ entry, ...expected }) => ({ entry: traced(entry), ...expected }));
    return abortable(this.#queue.append(this, all), signal);
  }

  discard(entries: readonly DiscardedEntry[]): Promise<number> {
    const { meta } = this.#alive();
    const { entries: stored, heads, subjects } = this.#file;
    return this.#file.write(() => {
      const head = readSequence(heads.get(idKey(meta.id)));
      let removed = 0;
      for (const { subject, sequence } of entries) {
        const key = subjectKey(meta.id, subject);
        if (sequence === head || readSequence(subjects.get(key)) !== sequence) continue;
        subjects.removeSync(key);
        stored.removeSync(sequenceKey(meta.id, sequence));
        removed += 1;
      }
      return removed;
    });
  }

  async *tail(after: number | Cursor, { signal }: { signal: AbortSignal }): AsyncGenerator<TailBatch> {
    const life = this.#alive();
    const { reader } = life;
    if (typeof after !== "number") {
      requireFit(checkCursor(after, reader.place(after.sequence, life.head)));
    }
    let at = typeof after === "number" ? after : after.sequence;
    let idle: TailBatch | undefined;
    while (!signal.aborted) {
      if (this.#alive() !== life) {
        throw new ContentError(ContentErrorKind.unavailable, `log ${this.stream} was dropped and opened again`);
      }
      const { head } = life;
      if (idle === undefined || idle.head !== head || at !== head) {
        const entries = reader.after(at, head);
        at = entries.at(-1)?.sequence ?? at;
        const cursor = cursorOf(at, reader.place(at, head));
        idle = { entries: [], head, cursor };
        yield { entries, head, cursor };
      } else {
        // A heartbeat: nothing was written, so the file need not be asked again.
        yield idle;
      }
      if (at >= life.head && !signal.aborted) {
        await this.#changed(signal);
      }
    }
  }

  /** Called by the queue: everything up to `head` is on disk. */
  synced(head: number): void {
    if (this.#life !== undefined) {
      this.#life.head = head;
      this.#wake();
    }
  }

  #wake(): void {
    for (const wake of this.#tails) {
      wake();
    }
  }

  #changed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.#tails.delete(done);
        signal.removeEventListener("abort", done);
        resolve();
      };
      this.#tails.add(done);
      signal.addEventListener("abort", done);
    });
  }

  #alive(): Life {
    if (this.#life === undefined) {
      throw new ContentError(ContentErrorKind.unavailable, `log ${this.stream} was dropped or closed`);
    }
    return this.#life;
  }
}
