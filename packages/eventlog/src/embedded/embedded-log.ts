import { ContentError, ContentErrorKind } from "@meridian/oci";
import type { Timers } from "@meridian/runtime";
import { abortable } from "../abortable.ts";
import { checkCursor, compareIncarnations, cursorOf, requireFit } from "../cursor.ts";
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
  TailOptions,
} from "../event-log.ts";
import { isCopy, requireEntry } from "../stream-name.ts";
import { traced } from "../traced.ts";
import { AheadEntries } from "./ahead-entries.ts";
import type { AppendQueue, AppendTarget } from "./append-queue.ts";
import { idKey, type LogFile, readSequence, type StreamMeta, sequenceKey, subjectKey } from "./log-file.ts";
import { StreamReader } from "./stream-reader.ts";

/** Idle tails say so this often, in milliseconds: together with what else a process does once a second. */
const HEARTBEAT_MS = 1_000;

interface Life {
  readonly meta: StreamMeta;
  readonly reader: StreamReader;
  /** Wakes idle tails, all at once. */
  readonly heart: Disposable;
  /** The last sequence that is on disk. */
  head: number;
  /** What was handed in behind it. Only of a copy: its origin has it on disk. */
  readonly ahead: AheadEntries;
}

/**
 * One stream of an embedded log, through all its lives: after a drop every method throws `unavailable` until it is opened
 * again. Readers see what is on disk, never what a power loss could still take, unless they ask for it.
 */
export class EmbeddedLog implements EventLog, AppendTarget {
  readonly stream: string;
  readonly durableAcks = true;
  sessionDue = false;
  readonly #file: LogFile;
  readonly #queue: AppendQueue;
  readonly #timers: Timers;
  readonly #tails = new Set<() => void>();
  /** Those of them that read ahead. */
  readonly #eager = new Set<() => void>();
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
    const known = this.#life?.meta;
    if (known?.id === meta.id && compareIncarnations(known.incarnation, meta.incarnation) === 0) {
      return;
    }
    const head = readSequence(this.#file.heads.get(idKey(meta.id)));
    this.#life?.heart[Symbol.dispose]();
    const heart = this.#timers.every(HEARTBEAT_MS, () => this.#wake());
    const reader = new StreamReader(this.stream, this.#file, meta);
    this.#life = { meta, head, heart, reader, ahead: new AheadEntries() };
    this.sessionDue = sessions;
    // Tails of an earlier life end.
    this.#wake();
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
    const { head, ahead } = this.#alive();
    requireEntry(this.stream, entry.subject, entry.payload);
    const { signal, expectedLastSubjectSequence, expectedLastSequence } = options;
    signal?.throwIfAborted();
    const one = { entry: traced(entry), expectedLastSubjectSequence };
    const early = isCopy(this.stream) && ahead.add(one.entry, expectedLastSequence, head);
    const lost = early ? (): void => this.#lost(ahead) : undefined;
    const appended = this.#queue.append(this, [one], { expectedLastSequence, lost });
    if (early) {
      this.#wake(this.#eager);
    }
    const [sequence] = await abortable(appended, signal);
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

  async *tail(after: number | Cursor, { signal, ahead = false }: TailOptions): AsyncGenerator<TailBatch> {
    const life = this.#alive();
    const { reader } = life;
    if (typeof after !== "number") {
      requireFit(checkCursor(after, reader.place(after.sequence, life.head)));
    }
    const { failures } = life.ahead;
    let at = typeof after === "number" ? after : after.sequence;
    let idle: TailBatch | undefined;
    while (!signal.aborted) {
      if (this.#alive() !== life) {
        throw unavailable(`log ${this.stream} was dropped and opened again`);
      }
      if (ahead && life.ahead.failures !== failures) {
        throw unavailable(`what was read ahead of ${this.stream} could not be stored`);
      }
      const { head } = life;
      if (idle === undefined || idle.head !== head || at < head) {
        const entries = at < head ? reader.after(at, head) : [];
        at = entries.at(-1)?.sequence ?? at;
        const stored = Math.min(at, head);
        const cursor = cursorOf(stored, reader.place(stored, head));
        idle = { entries: [], head, cursor };
        yield { entries, head, cursor };
      } else {
        const entries = ahead ? life.ahead.after(at) : [];
        at = entries.at(-1)?.sequence ?? at;
        // Without entries a heartbeat: nothing was written, so the file need not be asked again.
        yield entries.length === 0 ? idle : { entries, head: at, ahead: true };
      }
      if (at >= life.head && !signal.aborted && !(ahead && life.ahead.after(at).length > 0)) {
        await this.#changed(signal, ahead);
      }
    }
  }

  /** Called by the queue: everything up to `head` is on disk. */
  synced(head: number): void {
    if (this.#life !== undefined) {
      this.#life.head = head;
      this.#life.ahead.stored(head);
      this.#wake();
    }
  }

  #lost(ahead: AheadEntries): void {
    ahead.failed();
    this.#wake(this.#eager);
  }

  #wake(tails = this.#tails): void {
    for (const wake of tails) {
      wake();
    }
  }

  #changed(signal: AbortSignal, eager: boolean): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        this.#tails.delete(done);
        this.#eager.delete(done);
        signal.removeEventListener("abort", done);
        resolve();
      };
      this.#tails.add(done);
      if (eager) {
        this.#eager.add(done);
      }
      signal.addEventListener("abort", done);
    });
  }

  #alive(): Life {
    if (this.#life === undefined) {
      throw unavailable(`log ${this.stream} was dropped or closed`);
    }
    return this.#life;
  }
}

function unavailable(message: string): ContentError {
  return new ContentError(ContentErrorKind.unavailable, message);
}
