import { ContentError, ContentErrorKind } from "@meridian/oci";
import type { OnPersistStep, Timers } from "@meridian/runtime";
import { witnessHash } from "../cursor.ts";
import type { AppendOptions, ConditionalEntry, NewEntry } from "../event-log.ts";
import { expiredSessions, isSessionSubject, newSession, type SessionWriter } from "../session.ts";
import { decodeEntry, encodeEntry } from "./entry-codec.ts";
import {
  idKey,
  type LogFile,
  readSequence,
  type StreamMeta,
  sequenceKey,
  sequenceValue,
  subjectKey,
} from "./log-file.ts";

/** A stream that appends go to, shared by all who opened it. */
export interface AppendTarget {
  readonly stream: string;
  /** Undefined while the stream is dropped. */
  readonly meta: StreamMeta | undefined;
  /** True until the writer's session record of this run is in the stream. */
  sessionDue: boolean;
  /** Called with the new last sequence once everything up to it is on disk. */
  synced(head: number): void;
}

interface Waiting {
  readonly target: AppendTarget;
  /** The life of the stream that the caller appended to. */
  readonly meta: StreamMeta;
  /** All or none. */
  readonly entries: readonly ConditionalEntry[];
  readonly expectedLastSequence: number | undefined;
  /** Told, before anybody hears of the transaction, that the entries are not in it. Only of patient ones. */
  readonly lost: (() => void) | undefined;
  readonly resolve: (sequences: number[]) => void;
  readonly reject: (error: Error) => void;
}

interface Head {
  readonly meta: StreamMeta;
  readonly sequence: number;
}

type Outcome = { readonly sequences: number[] } | { readonly error: Error };

const MAX_BATCH = 4_096;
/** Between two transactions of patient appends alone, in milliseconds, unless many of them wait. */
const PATIENCE_MS = 100;
const MANY = 256;

/**
 * All appends to a file: those that wait while a transaction runs share the next one, and its fsync. Patient ones, which
 * nobody waits for, gather for a while unless others come, whose transaction takes along all that came before.
 */
export class AppendQueue {
  readonly #file: LogFile;
  readonly #writer: SessionWriter;
  readonly #timers: Timers;
  readonly #onStep: OnPersistStep | undefined;
  #waiting: Waiting[] = [];
  #running: Promise<void> | undefined;
  #closed = false;
  /** Ends the gathering; undefined while nothing gathers. */
  #hurry: (() => void) | undefined;
  #gatheredAt = Number.NEGATIVE_INFINITY;

  constructor(file: LogFile, writer: SessionWriter, timers: Timers, onStep?: OnPersistStep) {
    this.#file = file;
    this.#writer = writer;
    this.#timers = timers;
    this.#onStep = onStep;
  }

  /**
   * Resolves with the entries' sequences; when an expectation fails none of them is written. With `lost` they are patient:
   * they may wait for others to share a transaction with. It is called when they are not written, before anybody hears of
   * what was.
   */
  append(
    target: AppendTarget,
    entries: readonly ConditionalEntry[],
    {
      expectedLastSequence,
      lost,
    }: Pick<AppendOptions, "expectedLastSequence"> & { lost?: (() => void) | undefined } = {},
  ): Promise<number[]> {
    return new Promise((resolve, reject) => {
      const { meta } = target;
      if (this.#closed || meta === undefined) {
        reject(dropped(target.stream));
        return;
      }
      this.#waiting.push({ target, meta, entries, expectedLastSequence, lost, resolve, reject });
      if (lost === undefined || this.#waiting.length >= MANY) {
        this.#hurry?.();
      }
      this.#running ??= this.#run();
    });
  }

  /** Refuses new appends; resolves once the accepted ones are settled. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#hurry?.();
    await this.#running;
  }

  async #run(): Promise<void> {
    // One turn, so that calls made together share a transaction.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      await this.#gather();
      const batch = this.#waiting.splice(0, MAX_BATCH);
      await this.#commit(batch).catch((error: Error) => {
        for (const { lost, reject } of batch) {
          lost?.();
          reject(error);
        }
      });
    }
    this.#running = undefined;
  }

  /** Resolves when there is a reason for a transaction. */
  async #gather(): Promise<void> {
    if (this.#closed || this.#waiting.length >= MANY || this.#waiting.some(({ lost }) => lost === undefined)) {
      return;
    }
    const { clock } = this.#writer;
    const waitMs = this.#gatheredAt + PATIENCE_MS - clock.monotonic();
    if (waitMs > 0) {
      await new Promise<void>((resolve) => {
        const due = this.#timers.after(waitMs, resolve);
        this.#hurry = () => {
          due[Symbol.dispose]();
          resolve();
        };
      });
      this.#hurry = undefined;
    }
    this.#gatheredAt = clock.monotonic();
  }

  async #commit(batch: readonly Waiting[]): Promise<void> {
    const heads = new Map<AppendTarget, Head>();
    const outcomes: Outcome[] = [];
    this.#onStep?.("before the log's commit");
    await this.#file.write(() => {
      for (const waiting of batch) {
        outcomes.push(this.#apply(waiting, heads));
      }
      for (const { meta, sequence } of heads.values()) {
        this.#file.heads.putSync(idKey(meta.id), sequenceValue(sequence));
      }
    });
    this.#onStep?.("after the log's commit");
    for (const [index, { lost }] of batch.entries()) {
      if ("error" in outcomes[index]!) {
        lost?.();
      }
    }
    for (const [target, { meta, sequence }] of heads) {
      if (target.meta === meta) {
        target.sessionDue = false;
        target.synced(sequence);
      }
    }
    for (const [index, { resolve, reject }] of batch.entries()) {
      const outcome = outcomes[index]!;
      if ("sequences" in outcome) {
        resolve(outcome.sequences);
      } else {
        reject(outcome.error);
      }
    }
  }

  #apply({ target, meta, entries, expectedLastSequence }: Waiting, heads: Map<AppendTarget, Head>): Outcome {
    if (target.meta !== meta) {
      return { error: dropped(target.stream) };
    }
    const begun = heads.get(target)?.sequence;
    const head = begun ?? readSequence(this.#file.heads.get(idKey(meta.id)));
    if (expectedLastSequence !== undefined && expectedLastSequence !== head) {
      return { error: conflict(`log ${target.stream} ends at ${head}, not at ${expectedLastSequence}`) };
    }
    const error = this.#unexpected(meta, entries);
    if (error !== undefined) {
      return { error };
    }
    let last = begun === undefined && target.sessionDue ? this.#putSession(target.stream, meta, head) : head;
    const sequences = entries.map(({ entry }) => {
      last += 1;
      this.#put(target.stream, meta, last, entry);
      return last;
    });
    heads.set(target, { meta, sequence: last });
    return { sequences };
  }

  /** All expectations are looked at before anything is written. */
  #unexpected({ id }: StreamMeta, entries: readonly ConditionalEntry[]): Error | undefined {
    for (const { entry, expectedLastSubjectSequence: expected } of entries) {
      if (expected === undefined) {
        continue;
      }
      const last = readSequence(this.#file.subjects.get(subjectKey(id, entry.subject)));
      if (last !== expected) {
        return conflict(`the last entry of ${entry.subject} is ${last}, not ${expected}`);
      }
    }
    return undefined;
  }

  #put(stream: string, { id, compact }: StreamMeta, sequence: number, entry: NewEntry): void {
    const { entries, subjects, sessions } = this.#file;
    const key = subjectKey(id, entry.subject);
    const older = compact ? readSequence(subjects.get(key)) : 0;
    if (older > 0) {
      entries.removeSync(sequenceKey(id, older));
      sessions.removeSync(sequenceKey(id, older));
    }
    entries.putSync(sequenceKey(id, sequence), encodeEntry(entry));
    subjects.putSync(key, sequenceValue(sequence));
    if (isSessionSubject(stream, entry.subject)) {
      const now = sequenceValue(Math.trunc(this.#writer.clock.now()));
      sessions.putSync(sequenceKey(id, sequence), Buffer.concat([now, witnessHash(entry.payload)]));
    }
  }

  /** Writes this run's session record and removes expired ones. Returns the session's sequence. */
  #putSession(stream: string, meta: StreamMeta, head: number): number {
    const session = newSession(stream, this.#writer, head);
    this.#put(stream, meta, head + 1, session);
    const range = { start: sequenceKey(meta.id, 0), end: sequenceKey(meta.id + 1, 0) };
    const known = [...this.#file.sessions.getRange(range)];
    const sessions = known.map(({ key, value }) => ({ key, openedAtMs: readSequence(value) }));
    for (const { key } of expiredSessions(sessions, session.openedAtMs)) {
      this.#removeSession(meta.id, key);
    }
    return head + 1;
  }

  #removeSession(id: number, key: Buffer): void {
    const { entries, subjects, sessions } = this.#file;
    const bytes = entries.get(key);
    if (bytes !== undefined) {
      subjects.removeSync(subjectKey(id, decodeEntry(0, bytes).subject));
    }
    entries.removeSync(key);
    sessions.removeSync(key);
  }
}

function dropped(stream: string): ContentError {
  return new ContentError(ContentErrorKind.unavailable, `log ${stream} was dropped or closed`);
}

function conflict(message: string): ContentError {
  return new ContentError(ContentErrorKind.conflict, message);
}
