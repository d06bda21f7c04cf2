import { type Place, type Witness, witnessOf } from "../cursor.ts";
import type { LogEntry } from "../event-log.ts";
import { isCopy } from "../stream-name.ts";
import { decodeEntry } from "./entry-codec.ts";
import { type LogFile, readSequence, type StreamMeta, sequenceKey, sequenceOf, subjectKey } from "./log-file.ts";

// Read in one go, which keeps the event loop: what takes some milliseconds.
const BATCH_ENTRIES = 1_000;
const BATCH_BYTES = 1 << 20;

/** Reads of one stream of the file. Synchronous; each sees the last committed state. */
export class StreamReader {
  readonly #file: LogFile;
  readonly #meta: StreamMeta;
  readonly #copy: boolean;

  constructor(stream: string, file: LogFile, meta: StreamMeta) {
    this.#copy = isCopy(stream);
    this.#file = file;
    this.#meta = meta;
  }

  last(subject: string): LogEntry | undefined {
    const sequence = readSequence(this.#file.subjects.get(subjectKey(this.#meta.id, subject)));
    const bytes = sequence === 0 ? undefined : this.#file.entries.get(sequenceKey(this.#meta.id, sequence));
    return bytes === undefined ? undefined : decodeEntry(sequence, bytes);
  }

  /** The last entry of each subject below the prefix, after a sequence, in order. */
  under(prefix: string, { after, limit }: { readonly after: number; readonly limit: number }): LogEntry[] {
    const { id } = this.#meta;
    const start = subjectKey(id, prefix);
    const end = subjectKey(id, `${prefix.slice(0, -1)}/`);
    const sequences: number[] = [];
    for (const { value } of this.#file.subjects.getRange({ start, end })) {
      const sequence = readSequence(value);
      if (sequence > after) sequences.push(sequence);
    }
    sequences.sort((a, b) => a - b);
    return sequences.slice(0, limit).flatMap((sequence) => {
      const bytes = this.#file.entries.get(sequenceKey(id, sequence));
      return bytes === undefined ? [] : [decodeEntry(sequence, bytes)];
    });
  }

  /** Entries with `after` < sequence ≤ `upTo`, at most one batch of them. */
  after(after: number, upTo: number): LogEntry[] {
    const { id } = this.#meta;
    const range = { start: sequenceKey(id, after + 1), end: sequenceKey(id, upTo + 1), limit: BATCH_ENTRIES };
    const entries: LogEntry[] = [];
    let bytes = 0;
    for (const { key, value } of this.#file.entries.getRange(range)) {
      bytes += value.length;
      if (bytes > BATCH_BYTES && entries.length > 0) {
        break;
      }
      entries.push(decodeEntry(sequenceOf(key), value));
    }
    return entries;
  }

  /** What the stream, of this head, says about a place. */
  place(sequence: number, head: number): Place {
    const { incarnation, compact } = this.#meta;
    const entry = this.#copy || !compact ? this.#lastUpTo(sequence) : undefined;
    const witness = compact ? this.#sessionUpTo(sequence) : entry && witnessOf(entry);
    return { incarnation, head, witness, originSequence: this.#copy ? (entry?.origin?.sequence ?? 0) : undefined };
  }

  #lastUpTo(sequence: number): LogEntry | undefined {
    const { id } = this.#meta;
    const range = { start: sequenceKey(id, sequence), end: sequenceKey(id, 0), reverse: true, limit: 1 };
    for (const { key, value } of this.#file.entries.getRange(range)) {
      return decodeEntry(sequenceOf(key), value);
    }
    return undefined;
  }

  #sessionUpTo(sequence: number): Witness | undefined {
    const { id } = this.#meta;
    const range = { start: sequenceKey(id, sequence), end: sequenceKey(id, 0), reverse: true, limit: 1 };
    for (const { key, value } of this.#file.sessions.getRange(range)) {
      return { sequence: sequenceOf(key), hash: Uint8Array.prototype.slice.call(value, 8) };
    }
    return undefined;
  }
}
