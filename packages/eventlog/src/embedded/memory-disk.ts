import type { LogFile, LogTable, TableRange } from "./log-file.ts";

/** What a process that has the disk's file open lets happen around its writes. */
export interface DiskTiming {
  /** Awaited before a transaction is committed. A process that dies meanwhile never resolves it: nothing was written. */
  readonly beforeCommit: () => Promise<void>;
  /** Awaited before a transaction is synced: what a process or its machine dies in the middle of. */
  readonly beforeSync: () => Promise<void>;
}

/**
 * The file of an embedded log on a disk in memory, for simulations: it outlives the logs that were opened on it, and
 * loses on command what was committed but not synced.
 */
export interface MemoryDisk {
  /** The file as one process has it open. One at a time. */
  openFile(timing: DiskTiming): LogFile;
  /** A power loss: transactions that were not synced are undone, but for the first `kept` of them. */
  losePower(kept: number): void;
  /** How many transactions were committed and not synced. */
  readonly unsynced: number;
  /** The content as it is now, to be put back by {@link MemoryDisk.restore}: what a backup is. */
  backUp(): unknown;
  restore(backup: unknown): void;
  /** Forgets everything: a file that was deleted. */
  wipe(): void;
}

type Row = readonly [key: string, value: unknown];
type Undo = () => void;

/** A disk without files. */
export function createMemoryDisk(): MemoryDisk {
  const tables = new Map(["meta", "heads", "entries", "subjects", "sessions"].map((name) => [name, new SortedRows()]));
  /** One list of undo steps for each transaction that was not synced. */
  let journal: Undo[][] = [];
  let undo: Undo[] | undefined;

  const table = <K, V>(name: string, codec: KeyCodec<K>): LogTable<K, V> =>
    new MemoryTable<K, V>(tables.get(name)!, codec, (step) => {
      if (undo === undefined) throw new Error("a write outside a transaction");
      undo.push(step);
    });
  const commit = <T>(change: () => T): { result: T; transaction: Undo[] } => {
    undo = [];
    const transaction = undo;
    try {
      const result = change();
      journal.push(transaction);
      return { result, transaction };
    } catch (error) {
      for (const step of transaction.toReversed()) step();
      throw error;
    } finally {
      undo = undefined;
    }
  };
  return {
    openFile: ({ beforeCommit, beforeSync }) => ({
      meta: table("meta", text),
      heads: table("heads", binary),
      entries: table("entries", binary),
      subjects: table("subjects", binary),
      sessions: table("sessions", binary),
      async write(change) {
        await beforeCommit();
        const { result, transaction } = commit(change);
        await beforeSync();
        journal = journal.slice(journal.indexOf(transaction) + 1);
        return result;
      },
      lackOfSpace: async () => undefined,
      close: async () => {},
    }),
    losePower(kept) {
      for (const transaction of journal.slice(kept).toReversed()) {
        for (const step of transaction.toReversed()) step();
      }
      journal = [];
    },
    get unsynced() {
      return journal.length;
    },
    backUp: () => new Map([...tables].map(([name, rows]) => [name, rows.all()])),
    restore(backup) {
      for (const [name, rows] of backup as ReadonlyMap<string, readonly Row[]>) tables.get(name)!.replace(rows);
      journal = [];
    },
    wipe() {
      for (const rows of tables.values()) rows.replace([]);
      journal = [];
    },
  };
}

interface KeyCodec<K> {
  readonly toText: (key: K) => string;
  readonly fromText: (text: string) => K;
}

const text: KeyCodec<string> = { toText: (key) => key, fromText: (key) => key };
/** A character for a byte, so that texts sort as bytes do. */
const binary: KeyCodec<Buffer> = {
  toText: (key) => key.toString("latin1"),
  fromText: (key) => Buffer.from(key, "latin1"),
};

class MemoryTable<K, V> implements LogTable<K, V> {
  readonly #rows: SortedRows;
  readonly #codec: KeyCodec<K>;
  readonly #undoable: (step: Undo) => void;

  constructor(rows: SortedRows, codec: KeyCodec<K>, undoable: (step: Undo) => void) {
    this.#rows = rows;
    this.#codec = codec;
    this.#undoable = undoable;
  }

  get(key: K): V | undefined {
    return copyOf(this.#rows.get(this.#codec.toText(key))) as V | undefined;
  }

  *getRange({ start, end, limit = Number.POSITIVE_INFINITY, reverse = false }: TableRange<K>): Iterable<{
    readonly key: K;
    readonly value: V;
  }> {
    const { fromText, toText } = this.#codec;
    const [low, high] = reverse ? [end, start] : [start, end];
    const keys = this.#rows.between(toText(low), toText(high), reverse);
    for (const key of (reverse ? keys.toReversed() : keys).slice(0, Math.min(limit, keys.length))) {
      yield { key: fromText(key), value: copyOf(this.#rows.get(key)) as V };
    }
  }

  *getKeys(range: TableRange<K>): Iterable<K> {
    for (const { key } of this.getRange(range)) yield key;
  }

  putSync(key: K, value: V): void {
    this.#set(this.#codec.toText(key), copyOf(value));
  }

  removeSync(key: K): void {
    this.#set(this.#codec.toText(key), undefined);
  }

  #set(key: string, value: unknown): void {
    const before = this.#rows.get(key);
    this.#rows.set(key, value);
    this.#undoable(() => this.#rows.set(key, before));
  }
}

/** A disk gives out copies. */
function copyOf(value: unknown): unknown {
  return Buffer.isBuffer(value) ? Buffer.from(value) : value;
}

class SortedRows {
  #keys: string[] = [];
  readonly #values = new Map<string, unknown>();

  get(key: string): unknown {
    return this.#values.get(key);
  }

  /** Undefined removes. */
  set(key: string, value: unknown): void {
    const there = this.#values.has(key);
    if (value === undefined) {
      if (there) this.#keys.splice(this.#lowerBound(key), 1);
      this.#values.delete(key);
      return;
    }
    if (!there) this.#keys.splice(this.#lowerBound(key), 0, key);
    this.#values.set(key, value);
  }

  /** Keys from `low` on and below `high`; with `reverse` above `low` and up to `high`. */
  between(low: string, high: string, reverse: boolean): string[] {
    const after = (key: string): number => {
      const at = this.#lowerBound(key);
      return reverse && this.#keys[at] === key ? at + 1 : at;
    };
    return this.#keys.slice(after(low), after(high));
  }

  all(): Row[] {
    return this.#keys.map((key) => [key, this.#values.get(key)]);
  }

  replace(rows: readonly Row[]): void {
    this.#keys = rows.map(([key]) => key);
    this.#values.clear();
    for (const [key, value] of rows) this.#values.set(key, value);
  }

  #lowerBound(key: string): number {
    let low = 0;
    let high = this.#keys.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#keys[middle]! < key) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
