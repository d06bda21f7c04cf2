import {
  type Cursor,
  decodeLife,
  type EventLog,
  type EventLogs,
  type Incarnation,
  isSessionSubject,
  lifeSubject,
  MAX_PAYLOAD_BYTES,
  type NewEntry,
  subjectPrefix,
} from "@meridian/eventlog";
import { ContentError, isContentError } from "@meridian/oci";
import type { Logger } from "@meridian/runtime";
import { type linkV1, recordV1 } from "@meridian/wire";
import { lastCopied } from "./copied-position.ts";
import { keepOldCopy } from "./old-copy.ts";
import type { Quarantine } from "./quarantine.ts";
import { copyStream, ownStream } from "./stream-names.ts";
import { sessionAt } from "./wire-cursor.ts";

/**
 * A site's copy of one origin's log, opened for writing. Appends are chained by the copy's own last sequence, so that
 * after a failure every later one fails too: the copy is a prefix of the origin at every moment.
 * Where it stands is read from its own last entry, which was written in one piece with that entry's data.
 */
export class Copy {
  readonly #logs: EventLogs;
  readonly #log: Logger;
  readonly #quarantine: Quarantine;
  readonly #origin: string;
  #stream: EventLog;
  /** The last sequence of the stream, with the appends that are under way. */
  #tail = 0;
  /** The last entry handed in, stored or not. */
  #placed: Cursor | undefined;
  #cursor: Cursor | undefined;
  /** The outcome of all calls so far. */
  #settled: Promise<void> = Promise.resolve();

  private constructor(options: CopyOptions, stream: EventLog) {
    this.#logs = options.logs;
    this.#log = options.log;
    this.#quarantine = options.quarantine;
    this.#origin = options.origin;
    this.#stream = stream;
  }

  /** @throws ContentError `unavailable` when the local log cannot be reached. */
  static async open(options: CopyOptions): Promise<Copy> {
    const copy = new Copy(options, await options.logs.open(copyStream(options.origin)));
    await copy.#restore();
    return copy;
  }

  /** The last entry taken from the origin, in the origin's terms; undefined before the first. */
  get cursor(): Cursor | undefined {
    return this.#cursor;
  }

  /** True once it has all that the origin brought back of earlier lives of its log. */
  async isWhole(): Promise<boolean> {
    const life = this.#cursor && (await this.#stream.last(lifeSubject(this.#stream.stream, this.#cursor.incarnation)));
    return life !== undefined && decodeLife(life.payload).state === recordV1.LifeState.WHOLE;
  }

  /** True when what was appended has been fsynced by the time it is acknowledged. */
  get durable(): boolean {
    return this.#stream.durableAcks;
  }

  /**
   * Throws the copy away, to read the origin from its beginning. A crash in the middle leaves an empty copy. `keepOld`
   * puts aside first what it holds (old-copy.ts): the origin may have lost it.
   */
  async restart({ keepOld = false }: { keepOld?: boolean } = {}): Promise<void> {
    if (keepOld) await keepOldCopy(this.#logs, this.#origin, this.#stream);
    const name = copyStream(this.#origin);
    await this.#logs.drop(name);
    this.#stream = await this.#logs.open(name);
    await this.#restore();
  }

  /**
   * Appends entries in their order, behind those of calls before; resolves once they are acknowledged. Later calls need
   * not wait for it. Entries that cannot be stored are put aside and skipped; the origin's sequences have gaps anyway,
   * and the next entry that is stored carries the copy past them.
   * @throws ContentError: when all calls are settled the copy must be opened again, to go on from what it holds.
   */
  async append(wire: readonly linkV1.Entry[], incarnation: Incarnation): Promise<void> {
    const before = this.#settled;
    const entries = this.#place(wire, incarnation);
    const storable = entries.filter((entry) => !this.#putAside(entry));
    const first = this.#tail + 1;
    this.#tail += storable.length;
    // One turn: the log keeps the order of calls made in one turn.
    const appending = storable.map((entry, index) =>
      this.#stream.append(entry, { expectedLastSequence: first - 1 + index }),
    );
    this.#settled = Promise.all([Promise.allSettled(appending), before]).then(([outcomes]) => {
      for (const [index, outcome] of outcomes.entries()) this.#settle(storable[index]!, first + index, outcome);
      this.#cursor = entries.at(-1)?.origin ?? this.#cursor;
    });
    await this.#settled;
  }

  async #restore(): Promise<void> {
    const { sequence } = await this.#stream.head();
    const last = await lastCopied(this.#stream);
    if (sequence > 0 && last === undefined) {
      this.#log.error("the copy does not say where it stands and is read again", { stream: this.#stream.stream });
      await this.restart();
      return;
    }
    this.#tail = sequence;
    this.#settled = Promise.resolve();
    this.#placed = last?.origin;
    this.#cursor = last?.origin;
  }

  /** The entries with their places at the origin, and the last session there at or before each. */
  #place(wire: readonly linkV1.Entry[], incarnation: Incarnation): PlacedEntry[] {
    let before = this.#placed;
    const placed = wire.map(({ sequence: wireSequence, subject, payload, traceparent }) => {
      const sequence = Number(wireSequence);
      if (sequence <= (before?.sequence ?? 0)) {
        throw new ContentError("invalid", `site ${this.#origin} sent ${sequence} after ${before?.sequence ?? 0}`);
      }
      const isSession = isSessionSubject(ownStream(this.#origin), subject);
      const session = isSession ? sessionAt({ sequence, payload }) : before?.session;
      before = { incarnation, sequence, ...(session && { session }) };
      return { subject, payload, origin: before, ...(traceparent && { traceparent }) };
    });
    this.#placed = before;
    return placed;
  }

  #putAside(entry: PlacedEntry): boolean {
    const reason = problemOf(entry, this.#origin) ?? this.#quarantine.refusal(entry);
    if (reason === undefined) return false;
    this.#quarantine.add(entry, reason);
    return true;
  }

  #settle(entry: PlacedEntry, expected: number, outcome: PromiseSettledResult<number>): void {
    if (outcome.status === "rejected") {
      if (isContentError(outcome.reason, "invalid")) {
        this.#quarantine.refuse(entry, outcome.reason.message);
      }
      throw outcome.reason;
    }
    if (outcome.value !== expected) {
      throw new ContentError("conflict", `${this.#stream.stream} gave ${outcome.value} for entry ${expected}`);
    }
    this.#cursor = entry.origin;
  }
}

type PlacedEntry = NewEntry & { readonly origin: Cursor };

/** What {@link Copy.open} needs. */
export interface CopyOptions {
  readonly origin: string;
  readonly logs: EventLogs;
  readonly quarantine: Quarantine;
  readonly log: Logger;
}

/** Why an entry may not be stored; undefined when it may. */
function problemOf({ subject, payload }: NewEntry, origin: string): string | undefined {
  const prefix = subjectPrefix(copyStream(origin));
  if (!subject.startsWith(prefix)) return `its subject does not begin with ${prefix}`;
  if (payload.length > MAX_PAYLOAD_BYTES)
    return `its payload has ${payload.length} bytes, ${MAX_PAYLOAD_BYTES} are allowed`;
  return undefined;
}
