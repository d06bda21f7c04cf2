import type { OrderedStore } from "@meridian/keyvalue";
import type { Digest } from "@meridian/oci";
import type { Clock, Logger } from "@meridian/runtime";
import { under } from "./view-layout.ts";

/** A promise to a client that the digest stays linked in the repository. */
export interface Pin {
  readonly repository: string;
  readonly digest: Digest;
  /** Of the blob, in bytes: for the link that may have to be written again. */
  readonly size: number;
}

export interface PinsOptions {
  /** Survives the end of the process; need not survive the machine's. */
  readonly store: OrderedStore;
  /** How long a pin lasts at least, in milliseconds. */
  readonly forMs: number;
  readonly clock: Clock;
  readonly log: Logger;
}

/** A pin is written again when so much of its extra time is gone: a digest that is asked for all the time costs one write in a sixteenth of its term. */
const EXTRA = 1 / 16;
/** Pins of which it is remembered that they need not be written again, in each of two generations. */
const REMEMBERED = 10_000;
const PAGE = 1_000;

/**
 * The pins of a process. Made without waiting for anything: those of one turn of the event loop are written together at
 * its end, and count from the moment they are made. There are no more of them than digests that are or were linked.
 *
 *     p <digest> <repository>    until when, and size: 8 bytes each; no repository: only the bytes are kept
 */
export class Pins implements AsyncDisposable {
  readonly #options: PinsOptions;
  /** What is not in the store yet; undefined for a pin that was taken back. */
  #waiting = new Map<string, Uint8Array | undefined>();
  #writing: ReadonlyMap<string, Uint8Array | undefined> = new Map();
  #young = new Map<string, number>();
  #old = new Map<string, number>();
  #running: Promise<void> | undefined;

  constructor(options: PinsOptions) {
    this.#options = options;
  }

  pin({ repository, digest, size }: Pin): void {
    const key = keyOf(digest, repository);
    const { clock, forMs } = this.#options;
    const now = clock.now();
    const known = this.#young.get(key) ?? this.#old.get(key);
    if (known !== undefined && known - now >= forMs) return;
    const until = now + forMs * (1 + EXTRA);
    if (this.#young.size >= REMEMBERED) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, until);
    this.#waiting.set(key, encode(until, size));
    this.#running ??= this.#write();
  }

  unpin(repository: string, digest: Digest): void {
    const key = keyOf(digest, repository);
    if (this.#row(key) === undefined) return;
    this.#young.delete(key);
    this.#old.delete(key);
    this.#waiting.set(key, undefined);
    this.#running ??= this.#write();
  }

  /** The digest's pin in the repository; undefined when there is none, or none any more. */
  get(repository: string, digest: Digest): Pin | undefined {
    return this.#live(keyOf(digest, repository), this.#row(keyOf(digest, repository)));
  }

  /** True while the digest is pinned, in whichever repository. */
  has(digest: Digest): boolean {
    const prefix = keyOf(digest, "");
    for (const unwritten of [this.#waiting, this.#writing]) {
      for (const [key, row] of unwritten) {
        if (key.startsWith(prefix) && this.#live(key, row) !== undefined) return true;
      }
    }
    for (const [key] of this.#options.store.range(under(prefix))) {
      if (this.#live(key, this.#row(key)) !== undefined) return true;
    }
    return false;
  }

  /** Every pin that lasts, a page at a time in the order of digests; those that have ended are removed on the way. */
  *pages(): Iterable<Pin[]> {
    let start = under("p ").start;
    for (;;) {
      const rows = [...this.#options.store.range({ start, end: under("p ").end, limit: PAGE })];
      const last = rows.at(-1)?.[0];
      if (last === undefined) return;
      const pins = rows.map(([key]) => ({ key, pin: this.#live(key, this.#row(key)) }));
      this.#remove(pins.filter(({ pin }) => pin === undefined).map(({ key }) => key));
      yield pins.flatMap(({ pin }) => pin ?? []);
      start = `${last}\0`;
    }
  }

  /** Resolves once all that was pinned is in the store. The store stays open. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#running;
  }

  #row(key: string): Uint8Array | undefined {
    if (this.#waiting.has(key)) return this.#waiting.get(key);
    if (this.#writing.has(key)) return this.#writing.get(key);
    return this.#options.store.get(key);
  }

  #live(key: string, row: Uint8Array | undefined): Pin | undefined {
    if (row === undefined) return undefined;
    const { until, size } = decode(row);
    if (until <= this.#options.clock.now()) return undefined;
    const [, digest = "", repository = ""] = key.split(" ");
    return { repository, digest: digest as Digest, size };
  }

  #remove(keys: readonly string[]): void {
    for (const key of keys) this.#waiting.set(key, undefined);
    if (keys.length > 0) this.#running ??= this.#write();
  }

  /** Never rejects: what cannot be written counts while the process lives, and is tried again with the next pin. */
  async #write(): Promise<void> {
    const { store, log } = this.#options;
    await Promise.resolve();
    while (this.#waiting.size > 0) {
      const writing = this.#waiting;
      this.#writing = writing;
      this.#waiting = new Map();
      try {
        await store.transaction((tx) => {
          for (const [key, row] of writing) {
            if (row === undefined) tx.delete(key);
            else tx.put(key, row);
          }
        });
        this.#writing = new Map();
      } catch (error) {
        log.warn("what clients were told to be here could not be noted on the disk", { error });
        this.#waiting = new Map([...writing, ...this.#waiting]);
        this.#writing = new Map();
        break;
      }
    }
    this.#running = undefined;
  }
}

function keyOf(digest: Digest, repository: string): string {
  return `p ${digest} ${repository}`;
}

function encode(until: number, size: number): Uint8Array {
  const row = Buffer.allocUnsafe(16);
  row.writeBigUInt64BE(BigInt(Math.ceil(until)), 0);
  row.writeBigUInt64BE(BigInt(size), 8);
  return row;
}

function decode(row: Uint8Array): { until: number; size: number } {
  const bytes = Buffer.from(row.buffer, row.byteOffset, row.byteLength);
  return { until: Number(bytes.readBigUInt64BE(0)), size: Number(bytes.readBigUInt64BE(8)) };
}
