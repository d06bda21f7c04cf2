import { fromBinary, toBinary } from "@bufbuild/protobuf";
import type { OrderedStore } from "@meridian/keyvalue";
import { ContentError } from "@meridian/oci";
import type { Clock } from "@meridian/runtime";
import { recordV1 } from "@meridian/wire";
import type { TagCondition } from "./catalog.ts";
import type { HighWater } from "./hlc.ts";
import { under } from "./view-layout.ts";

/** What one commit still has to bring into the log, or cannot yet be sure that the log keeps. */
export interface OutboxEntry {
  /** Sorts in the order of writing. */
  readonly id: string;
  /** Milliseconds since the Unix epoch. */
  readonly at: number;
  /** Checked again before a replay. */
  readonly condition?: TagCondition;
  /** The changes, each to be merged with its register: not the registers themselves. */
  readonly records: readonly recordV1.Record[];
}

const FORMAT = 1;
const HIGH_WATER_KEY = "clock";
const PREFIX = "e ";

interface Waiting {
  readonly entry: OutboxEntry;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/**
 * The writes of a process on their way to the log, on disk before the log sees them:
 *
 *     clock     high-water of the hybrid logical clock, 8 bytes
 *     e <id>    an entry: length of the head in 4 bytes, the head as JSON, then each record behind its length
 *
 * Entries that come while a sync runs share the next one.
 */
export class Outbox implements AsyncDisposable {
  readonly #store: OrderedStore;
  readonly #clock: Clock;
  #counter: number;
  #waiting: Waiting[] = [];
  #removed: string[] = [];
  #running: Promise<void> | undefined;

  constructor({ store, clock }: { store: OrderedStore; clock: Clock }) {
    this.#store = store;
    this.#clock = clock;
    const [last] = store.range({ start: under(PREFIX).end, end: PREFIX, reverse: true, limit: 1 });
    this.#counter = last === undefined ? 0 : Number.parseInt(last[0].slice(PREFIX.length), 16);
  }

  /** A new entry, not written yet. */
  newEntry(records: readonly recordV1.Record[], condition: TagCondition | undefined): OutboxEntry {
    this.#counter += 1;
    return { id: this.#counter.toString(16).padStart(13, "0"), at: Math.trunc(this.#clock.now()), condition, records };
  }

  /**
   * Resolves once the entry is on disk, in place of an older one of the same id.
   * @throws what the store throws; it is not known then whether the entry was written.
   */
  put(entry: OutboxEntry): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ entry, resolve, reject });
      this.#begin();
    });
  }

  /** Removes an entry with the next transaction. It may come back after a power loss: a replay changes nothing. */
  remove(id: string): void {
    this.#removed.push(id);
    this.#begin();
  }

  /** All entries in the order of writing. */
  entries(): OutboxEntry[] {
    return Array.from(this.#store.range(under(PREFIX)), ([key, row]) => decodeEntry(key.slice(PREFIX.length), row));
  }

  /** The place of the clock's high-water: here, because the view may be dropped. */
  highWater(): HighWater {
    const store = this.#store;
    return {
      load() {
        const row = store.get(HIGH_WATER_KEY);
        return row === undefined ? undefined : Buffer.from(row).readBigUInt64BE(0);
      },
      async persist(time) {
        const row = Buffer.alloc(8);
        row.writeBigUInt64BE(time);
        await store.transaction((tx) => tx.put(HIGH_WATER_KEY, row));
        await store.flushed();
      },
    };
  }

  /** Resolves once all that was asked for is done. The store stays open. */
  async [Symbol.asyncDispose](): Promise<void> {
    while (this.#running !== undefined) {
      await this.#running;
    }
  }

  #begin(): void {
    this.#running ??= this.#run();
  }

  async #run(): Promise<void> {
    // One turn, so that commits made together share a transaction.
    await Promise.resolve();
    while (this.#waiting.length > 0 || this.#removed.length > 0) {
      const waiting = this.#waiting.splice(0);
      const removed = this.#removed.splice(0);
      try {
        await this.#write(waiting, removed);
        for (const { resolve } of waiting) {
          resolve();
        }
      } catch (error) {
        for (const { reject } of waiting) {
          reject(error);
        }
      }
    }
    this.#running = undefined;
  }

  async #write(waiting: readonly Waiting[], removed: readonly string[]): Promise<void> {
    await this.#store.transaction((tx) => {
      for (const { entry } of waiting) {
        tx.put(PREFIX + entry.id, encodeEntry(entry));
      }
      for (const id of removed) {
        tx.delete(PREFIX + id);
      }
    });
    if (waiting.length > 0) {
      await this.#store.flushed();
    }
  }
}

function encodeEntry({ at, condition, records }: OutboxEntry): Uint8Array {
  const head = Buffer.from(JSON.stringify({ format: FORMAT, at, condition }));
  const parts = [head, ...records.map((record) => toBinary(recordV1.RecordSchema, record))];
  return Buffer.concat(parts.flatMap((part) => [lengthOf(part), part]));
}

function lengthOf(part: Uint8Array): Uint8Array {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(part.byteLength);
  return length;
}

function decodeEntry(id: string, row: Uint8Array): OutboxEntry {
  const bytes = Buffer.from(row.buffer, row.byteOffset, row.byteLength);
  const parts: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = at + 4 + bytes.readUInt32BE(at);
    parts.push(bytes.subarray(at + 4, end));
    at = end;
  }
  const [head, ...records] = parts;
  const { format, at, condition } = JSON.parse(head?.toString("utf8") ?? "{}");
  if (format !== FORMAT) {
    throw new ContentError("invalid", `an outbox entry of format ${format}, this version knows ${FORMAT}`);
  }
  return { id, at, condition, records: records.map((record) => fromBinary(recordV1.RecordSchema, record)) };
}
