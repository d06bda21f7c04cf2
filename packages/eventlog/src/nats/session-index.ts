import { fromBinary } from "@bufbuild/protobuf";
import { recordV1 } from "@meridian/wire";
import { type Witness, witnessOf } from "../cursor.ts";
import type { LogEntry } from "../event-log.ts";
import { isSessionSubject, sessionPrefix } from "../session.ts";
import type { StoredMessages } from "./stored-messages.ts";

/** A session record in a stream. */
export interface KnownSession extends Witness {
  readonly subject: string;
  readonly openedAtMs: number;
}

/**
 * The session records of one stream as seen on one connection, so that a cursor costs no search. It dies with the
 * connection: only while that lives is the stream known to keep what it had.
 */
export class SessionIndex {
  readonly #stream: string;
  readonly #messages: StoredMessages;
  readonly #sessions: KnownSession[] = [];
  #knownUpTo = 0;

  constructor(stream: string, messages: StoredMessages) {
    this.#stream = stream;
    this.#messages = messages;
  }

  /** The last session at or before the sequence, which is not beyond the head. */
  async lastUpTo(sequence: number): Promise<Witness | undefined> {
    await this.#learnUpTo(sequence);
    return this.#sessions.findLast((session) => session.sequence <= sequence);
  }

  /** All sessions up to the sequence, oldest first. */
  async upTo(sequence: number): Promise<readonly KnownSession[]> {
    await this.#learnUpTo(sequence);
    return this.#sessions.filter((session) => session.sequence <= sequence);
  }

  /** Takes note of entries that a tail delivered: all that the stream has after `after`, up to the last of them. */
  observe(after: number, entries: readonly LogEntry[]): void {
    const upTo = entries.at(-1)?.sequence ?? 0;
    if (after > this.#knownUpTo || upTo <= this.#knownUpTo) {
      return;
    }
    for (const entry of entries) {
      this.#add(entry);
    }
    this.#knownUpTo = upTo;
  }

  async #learnUpTo(sequence: number): Promise<void> {
    while (this.#knownUpTo < sequence) {
      const from = this.#knownUpTo + 1;
      const entry = await this.#messages.next(from, `${sessionPrefix(this.#stream)}>`);
      // Another call, or a tail, may have gone further meanwhile.
      this.#knownUpTo = Math.max(this.#knownUpTo, Math.min(entry?.sequence ?? sequence, sequence));
      if (entry !== undefined && entry.sequence <= sequence) {
        this.#add(entry);
      }
    }
  }

  #add(entry: LogEntry): void {
    if (!isSessionSubject(this.#stream, entry.subject) || entry.sequence <= (this.#sessions.at(-1)?.sequence ?? 0)) {
      return;
    }
    const { sequence, hash } = witnessOf(entry);
    const openedAtMs = openedAt(entry.payload);
    this.#sessions.push({ sequence, hash, subject: entry.subject, openedAtMs });
  }
}

/** When a session was opened; for ever, so that it stays, when its record is of a format that this version cannot read. */
function openedAt(payload: Uint8Array): number {
  try {
    return Number(fromBinary(recordV1.SessionSchema, payload).openedAtMs);
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}
