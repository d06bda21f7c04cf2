import { ContentError, ContentErrorKind } from "@meridian/oci";
import { witnessHash } from "../cursor.ts";
import type { AppendOptions, NewEntry } from "../event-log.ts";
import { expiredSessions, isSessionSubject, newSession, type SessionWriter } from "../session.ts";
import { encodeEntry } from "./entry-codec.ts";
import {
  idKey,
  type LogFile,
  readSequence,
  type StreamMeta,
  sequenceKey,
  sequenceOf,
  sequenceValue,
  subjectKey,
} from "./log-file.ts";

/** A stream that appends go to, shared by all who opened it. */
export interface AppendTarget {
  readonly stream: string;
  readonly meta: StreamMeta;
  /** True until the writer's session record of this run is in the stream. */
  sessionDue: boolean;
  /** True once the stream was dropped. */
  dropped: boolean;
  /** Called with the new last sequence once everything up to it is on disk. */
  synced(head: number): void;
}

interface Waiting {
  readonly target: AppendTarget;
  readonly entry: NewEntry;
  readonly options: AppendOptions;
  readonly resolve: (sequence: number) => void;
  readonly reject: (error: Error) => void;
}

type Outcome = { readonly sequence: number } | { readonly error: Error };

const MAX_BATCH = 4_096;

/** All appends to a file: those that wait while a transaction runs share the next one, and its fsync. */
export class AppendQueue {
  readonly #file: LogFile;
  readonly #writer: SessionWriter;
  #waiting: Waiting[] = [];
  #running: Promise<void> | undefined;
  #closed = false;

  constructor(file: LogFile, writer: SessionWriter) {
    this.#file = file;
    this.#writer = writer;
  }

  append(target: AppendTarget, entry: NewEntry, options: AppendOptions): Promise<number> {
    return new Promise((resolve, reject) => {
      if (this.#closed) {
        reject(new ContentError(ContentErrorKind.unavailable, "the log was closed"));
        return;
      }
      this.#waiting.push({ target, entry, options, resolve, reject });
      this.#running ??= this.#run();
    });
  }

  /** Refuses new appends; resolves once the accepted ones are settled. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    // One turn, so that calls made together share a transaction.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const batch = this.#waiting.splice(0, MAX_BATCH);
      await this.#commit(batch).catch((cause: unknown) => {
        const error = writeError(cause);
        for (const { reject } of batch) {
          reject(error);
        }
      });
    }
    this.#running = undefined;
  }

  async #commit(batch: readonly Waiting[]): Promise<void> {
    const heads = new Map<AppendTarget, number>();
    const outcomes: Outcome[] = [];
    // A child transaction is undone as a whole when something throws, so that a full disk leaves no half batch.
    await this.#file.root.childTransaction(() => {
      for (const waiting of batch) {
        outcomes.push(this.#apply(waiting, heads));
      }
      for (const [target, head] of heads) {
        this.#file.heads.putSync(idKey(target.meta.id), sequenceValue(head));
      }
    });
    await this.#file.root.flushed;
    for (const [target, head] of heads) {
      target.sessionDue = false;
      target.synced(head);
    }
    for (const [index, { resolve, reject }] of batch.entries()) {
      const outcome = outcomes[index]!;
      if ("sequence" in outcome) {
        resolve(outcome.sequence);
      } else {
        reject(outcome.error);
      }
    }
  }

  #apply({ target, entry, options }: Waiting, heads: Map<AppendTarget, number>): Outcome {
    if (target.dropped) {
      return { error: new ContentError(ContentErrorKind.notFound, `log ${target.stream} was dropped`) };
    }
    const begun = heads.get(target);
    const head = begun ?? readSequence(this.#file.heads.get(idKey(target.meta.id)));
    const error = this.#unexpected(target, entry.subject, head, options);
    if (error !== undefined) {
      return { error };
    }
    const before = begun === undefined && target.sessionDue ? this.#putSession(target, head) : head;
    this.#put(target, before + 1, entry);
    heads.set(target, before + 1);
    return { sequence: before + 1 };
  }

  #unexpected(target: AppendTarget, subject: string, head: number, options: AppendOptions): Error | undefined {
    const { expectedLastSequence, expectedLastSubjectSequence } = options;
    if (expectedLastSequence !== undefined && expectedLastSequence !== head) {
      return conflict(`log ${target.stream} ends at ${head}, not at ${expectedLastSequence}`);
    }
    if (expectedLastSubjectSequence === undefined) {
      return undefined;
    }
    const last = readSequence(this.#file.subjects.get(subjectKey(target.meta.id, subject)));
    const expected = expectedLastSubjectSequence;
    return last === expected ? undefined : conflict(`the last entry of ${subject} is ${last}, not ${expected}`);
  }

  #put({ stream, meta }: AppendTarget, sequence: number, entry: NewEntry): void {
    const { entries, subjects, sessions } = this.#file;
    const key = subjectKey(meta.id, entry.subject);
    const older = meta.compact ? readSequence(subjects.get(key)) : 0;
    if (older > 0) {
      entries.removeSync(sequenceKey(meta.id, older));
      sessions.removeSync(sequenceKey(meta.id, older));
    }
    entries.putSync(sequenceKey(meta.id, sequence), encodeEntry(entry));
    subjects.putSync(key, sequenceValue(sequence));
    if (isSessionSubject(stream, entry.subject)) {
      const now = sequenceValue(Math.trunc(this.#writer.clock.now()));
      sessions.putSync(sequenceKey(meta.id, sequence), Buffer.concat([now, witnessHash(entry.payload)]));
    }
  }

  /** Writes this run's session record and removes expired ones. Returns the session's sequence. */
  #putSession(target: AppendTarget, head: number): number {
    const session = newSession(target.stream, this.#writer, head);
    this.#put(target, head + 1, session);
    const { id } = target.meta;
    const { entries, subjects, sessions } = this.#file;
    const all = sessions.getRange({ start: sequenceKey(id, 0), end: sequenceKey(id + 1, 0) }).map(({ key, value }) => ({
      sequence: sequenceOf(key),
      openedAtMs: readSequence(value),
    }));
    for (const { sequence } of expiredSessions([...all], session.openedAtMs)) {
      const bytes = entries.get(sequenceKey(id, sequence));
      if (bytes !== undefined) {
        const length = bytes.readUInt16BE(0);
        subjects.removeSync(subjectKey(id, bytes.toString("utf8", 2, 2 + length)));
      }
      entries.removeSync(sequenceKey(id, sequence));
      sessions.removeSync(sequenceKey(id, sequence));
    }
    return head + 1;
  }
}

function conflict(message: string): ContentError {
  return new ContentError(ContentErrorKind.conflict, message);
}

function writeError(cause: unknown): ContentError {
  const message = cause instanceof Error ? cause.message : String(cause);
  if (/ENOSPC|EDQUOT|MDB_MAP_FULL|No space/i.test(message)) {
    return new ContentError(ContentErrorKind.noSpace, "the disk of the log is full", { cause });
  }
  return new ContentError(ContentErrorKind.unavailable, `the log could not be written: ${message}`, { cause });
}
