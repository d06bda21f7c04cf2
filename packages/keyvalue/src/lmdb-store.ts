import { mkdir, statfs } from "node:fs/promises";
import type { Logger, Timers } from "@meridian/runtime";
import { type Database, open, type RootDatabase } from "lmdb";
import { boundsOf } from "./bounds.ts";
import { adoptFormat } from "./format.ts";
import { keyProblem, requireKey } from "./key.ts";
import { KeyValueError } from "./key-value-error.ts";
import type { KeyRange, OrderedStore, OrderedTransaction } from "./ordered-store.ts";
import { requireSynchronous } from "./synchronous.ts";
import {
  condemnVolatileFolder,
  enterVolatileFolder,
  leaveVolatileFolder,
  trustVolatileFolder,
} from "./volatile-folder.ts";

/** Where an LMDB store is and what is expected in it. */
export interface LmdbStoreOptions {
  /** The folder that holds it; made, readable for its owner only, when it is missing. */
  readonly path: string;
  /** The format of what the caller keeps in it; 1 when absent. A file with a newer format is refused. */
  readonly format?: number;
  /** Rewrites entries of an older format, in one transaction. Without it an older format is refused too. */
  readonly upgrade?: (tx: OrderedTransaction, from: number) => void;
  /** Address space mapped at first, in bytes; it grows on demand. 1 GiB when absent. */
  readonly mapSizeBytes?: number;
  /**
   * The store holds nothing that cannot be made again: it is never synced while open, survives any death of the
   * process, and is empty after the machine went down under it. `flushed` then has nothing to wait for. Default false.
   */
  readonly volatile?: boolean;
  /** With `volatile`: the store may be dropped whenever it does not work, and what is done then. Default: never. */
  readonly droppable?: DroppableStore;
  readonly log?: Logger;
}

/** A store that is made again when it is damaged. */
export interface DroppableStore {
  /**
   * Called once when a page cannot be read. The store is dropped when it is opened the next time, so the process had
   * better end.
   */
  readonly corrupted: (error: unknown) => void;
  /** To tell a process that dies of the store from one that lives with it. */
  readonly timers: Timers;
}

/** A process that has lived so long with a store did not die of it, in milliseconds. */
const TRUSTED_AFTER_MS = 20_000;
/** What LMDB says of pages that make no sense. */
const CORRUPT = /MDB_(?:PAGE_NOTFOUND|CORRUPTED|INVALID|PANIC)/;

function isCorrupt(error: unknown): boolean {
  return error instanceof Error && CORRUPT.test(error.message);
}

/** A failed write with less than this free is told as a full disk, in bytes. */
const FULL_BELOW_BYTES = 1 << 20;

/** Keys are kept as their UTF-8 bytes, so that LMDB's byte order is the order of the contract. */
const utf8Keys = {
  writeKey(key: string | Uint8Array, target: Buffer, position: number): number {
    if (typeof key === "string") return position + target.write(key, position, "utf8");
    target.set(key, position);
    return position + key.length;
  },
  readKey(source: Buffer, start: number, end: number): string {
    return source.toString("utf8", start, end);
  },
};

/**
 * Opens a store in an LMDB environment:
 *
 *     <path>/data.mdb
 *       meta       "format" → {"layout":1,"format":<the caller's>}
 *       entries    UTF-8 key → bytes
 *     <path>/lock.mdb
 *
 * A commit is visible at once and synced by LMDB's `overlappingSync`: data, then a meta page of its own that names
 * the newest synced transaction, to which an opening after a power loss returns.
 * @throws KeyValueError `open` when the folder cannot be used, `format` when the file is of another format.
 */
export async function openLmdbStore(options: LmdbStoreOptions): Promise<OrderedStore> {
  try {
    return await openStore(options);
  } catch (error) {
    if (options.droppable === undefined || !isCorrupt(error)) throw error;
    condemnVolatileFolder(options.path);
    return await openStore(options);
  }
}

async function openStore(options: LmdbStoreOptions): Promise<OrderedStore> {
  const { path, format = 1, upgrade, mapSizeBytes = 2 ** 30, volatile = false, droppable, log } = options;
  const parts = { path, mapSize: mapSizeBytes, volatile, droppable: droppable !== undefined, log };
  const root = await openEnvironment(parts);
  try {
    const entries = root.openDB<Buffer, string>("entries", { encoding: "binary", keyEncoder: utf8Keys } as object);
    const meta = root.openDB<Buffer, string>("meta", { encoding: "binary", keyEncoder: utf8Keys } as object);
    const store = new LmdbStore({ path, root, entries, volatile, droppable, log });
    await adoptFormat({ path, format, upgrade, meta, entries: transactionOver(entries), root, volatile });
    return store;
  } catch (error) {
    await root.close();
    throw error;
  }
}

async function openEnvironment(parts: {
  path: string;
  mapSize: number;
  volatile: boolean;
  droppable: boolean;
  log: Logger | undefined;
}): Promise<RootDatabase> {
  const { path, mapSize, volatile } = parts;
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
    if (volatile) await enterVolatileFolder(path, parts);
    return open({
      path,
      noSubdir: false,
      maxDbs: 2,
      mapSize,
      overlappingSync: !volatile,
      noSync: volatile,
      // With batches by event turn, a failed commit also rejects a promise that nobody holds and so ends the process.
      eventTurnBatching: false,
    });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new KeyValueError("open", `cannot open the store in ${path}: ${reason}`, { cause: error });
  }
}

class LmdbStore implements OrderedStore {
  readonly #path: string;
  readonly #root: RootDatabase;
  readonly #entries: Database<Buffer, string>;
  readonly #volatile: boolean;
  readonly #log: Logger | undefined;
  readonly #droppable: DroppableStore | undefined;
  readonly #trusting: Disposable | undefined;
  #corrupt = false;
  #running: Promise<void> | undefined;
  #following: Promise<void> | undefined;
  #commitFailed = false;
  #closed: Promise<void> | undefined;

  constructor(parts: {
    path: string;
    root: RootDatabase;
    entries: Database<Buffer, string>;
    volatile: boolean;
    droppable: DroppableStore | undefined;
    log: Logger | undefined;
  }) {
    this.#volatile = parts.volatile;
    this.#path = parts.path;
    this.#root = parts.root;
    this.#entries = parts.entries;
    this.#log = parts.log;
    this.#droppable = parts.droppable;
    this.#trusting = parts.droppable?.timers.after(TRUSTED_AFTER_MS, () => void this.#trust());
  }

  get(key: string): Uint8Array | undefined {
    const entries = this.#open();
    try {
      return getFrom(entries, key);
    } catch (error) {
      throw this.#judged(error);
    }
  }

  range(range: KeyRange): Iterable<readonly [string, Uint8Array]> {
    const entries = this.#open();
    return { [Symbol.iterator]: () => this.#judgedRange(entries, range) };
  }

  *#judgedRange(entries: Database<Buffer, string>, range: KeyRange): Generator<readonly [string, Uint8Array]> {
    try {
      yield* rangeFrom(entries, range);
    } catch (error) {
      throw this.#judged(error);
    }
  }

  async #trust(): Promise<void> {
    if (this.#corrupt || this.#closed !== undefined) return;
    await trustVolatileFolder(this.#path).catch((error: unknown) => {
      this.#log?.debug("the mark of a store could not be written", { path: this.#path, error });
    });
  }

  /** The error itself; when it says that a page makes no sense the store is given up. */
  #judged(error: unknown): unknown {
    if (this.#droppable === undefined || this.#corrupt || !isCorrupt(error)) {
      return error;
    }
    this.#corrupt = true;
    this.#log?.error("a store is damaged: it is dropped when it is opened again", { path: this.#path, error });
    condemnVolatileFolder(this.#path);
    this.#droppable.corrupted(error);
    return error;
  }

  async transaction<T>(change: (tx: OrderedTransaction) => T): Promise<T> {
    const entries = this.#open();
    let failure: { readonly error: unknown } | undefined;
    try {
      const run = (): T => {
        try {
          return requireSynchronous(change(transactionOver(entries)));
        } catch (error) {
          failure = { error };
          throw error;
        }
      };
      // A child transaction, so that a change that throws takes back its own writes and nobody else's.
      const result = this.#volatile ? await this.#runHere(run) : await entries.childTransaction(run);
      this.#commitFailed = false;
      return result;
    } catch (error) {
      if (failure !== undefined) throw this.#judged(failure.error);
      throw await this.#writeError(this.#judged(error));
    }
  }

  /** Where no disk is waited for, handing a transaction to LMDB's thread and back costs more than the transaction. */
  async #runHere<T>(run: () => T): Promise<T> {
    // As in the other thread: not before the caller's turn has ended.
    await Promise.resolve();
    return this.#open().transactionSync(run);
  }

  /**
   * Not LMDB's own `flushed`, which stays pending for ever when a commit or a sync fails. A sync that finds its
   * transaction synced already costs no disk access.
   */
  flushed(): Promise<void> {
    this.#open();
    if (this.#volatile) return Promise.resolve();
    if (this.#running === undefined) return this.#startSync();
    // The one that runs may have begun before the caller's commit; all who come now share the next.
    this.#following ??= this.#running
      .catch(() => undefined)
      .then(() => {
        this.#following = undefined;
        return this.#startSync();
      });
    return this.#following;
  }

  async clear(): Promise<void> {
    const entries = this.#open();
    await this.transaction(() => entries.clearSync());
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  #startSync(): Promise<void> {
    const running = syncEnvironment(this.#root).then(
      () => {
        this.#running = undefined;
      },
      async (error: unknown) => {
        this.#running = undefined;
        throw await this.#writeError(error);
      },
    );
    this.#running = running;
    return running;
  }

  async #close(): Promise<void> {
    this.#trusting?.[Symbol.dispose]();
    await (this.#following ?? this.#running)?.catch(() => undefined);
    // After a failed commit lmdb's close waits for a flush that never comes; one that succeeds ends that.
    if (this.#commitFailed && !(await this.#canCommit())) {
      this.#log?.warn("left the store open: its disk takes no writes", { path: this.#path });
      return;
    }
    if (this.#volatile) await syncEnvironment(this.#root);
    await this.#root.close();
    if (this.#volatile && !this.#corrupt) await leaveVolatileFolder(this.#path);
  }

  async #canCommit(): Promise<boolean> {
    try {
      await this.#entries.childTransaction(() => this.#entries.removeSync("\0"));
      return true;
    } catch (error) {
      void swallowDetail(error);
      return false;
    }
  }

  async #writeError(error: unknown): Promise<KeyValueError> {
    this.#commitFailed = true;
    const cause = (await swallowDetail(error)) ?? error;
    const reason = cause instanceof Error ? cause.message : String(cause);
    const advice = (await this.#isFull()) ? "No space left on its disk" : "is its disk full or failing?";
    return new KeyValueError("write", `cannot write to the store in ${this.#path} (${reason}): ${advice}`, { cause });
  }

  /** Asked beside the error: LMDB calls a write that was cut short for want of space an input/output error. */
  async #isFull(): Promise<boolean> {
    try {
      const { bavail, bsize } = await statfs(this.#path);
      return bavail * bsize < FULL_BELOW_BYTES;
    } catch (error) {
      this.#log?.debug("the disk could not be asked for its free space", { error });
      return false;
    }
  }

  #open(): Database<Buffer, string> {
    if (this.#closed !== undefined) throw new KeyValueError("closed", `the store in ${this.#path} has been closed`);
    return this.#entries;
  }
}

/** Lmdb tells the reason of a failed commit by a second promise on the error, which nobody else would catch. */
async function swallowDetail(error: unknown): Promise<unknown> {
  const detail = (error as { commitError?: Promise<never> } | undefined)?.commitError;
  return detail?.catch((reason: unknown) => reason);
}

function syncEnvironment(root: RootDatabase): Promise<void> {
  const syncing = root as unknown as { sync(done: (error?: Error) => void): void };
  return new Promise((resolve, reject) => syncing.sync((error) => (error ? reject(error) : resolve())));
}

function getFrom(entries: Database<Buffer, string>, key: string): Uint8Array | undefined {
  // getBinary copies out of the map.
  return keyProblem(key) === undefined ? entries.getBinary(key) : undefined;
}

function* rangeFrom(entries: Database<Buffer, string>, range: KeyRange): Generator<readonly [string, Uint8Array]> {
  const bounds = boundsOf(range);
  if (bounds === undefined) return;
  const { from: start, to: end, reverse, limit } = bounds;
  for (const { key, value } of entries.getRange({ start, end, reverse, limit })) yield [key, value];
}

/** Reads and writes of the transaction that is being executed. */
function transactionOver(entries: Database<Buffer, string>): OrderedTransaction {
  return {
    get: (key) => getFrom(entries, key),
    // Collected at once: a cursor inside a write transaction would see later writes of the same transaction.
    range: (range) => [...rangeFrom(entries, range)],
    put: (key, value) => {
      entries.putSync(requireKey(key), value as Buffer);
    },
    delete: (key) => {
      if (getFrom(entries, key) === undefined) return false;
      entries.removeSync(key);
      return true;
    },
  };
}
