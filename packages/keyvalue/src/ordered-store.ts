/** A range of keys. Keys compare as UTF-8 bytes. */
export interface KeyRange {
  /** Inclusive. Absent: from the first key (from the last when `reverse`). */
  readonly start?: string;
  /** Exclusive. Absent: to the end. With `reverse`, `start` is the larger bound (inclusive) and `end` the smaller (exclusive). */
  readonly end?: string;
  readonly reverse?: boolean;
  /** At most this many entries. Absent: all. */
  readonly limit?: number;
}

/** Reads are synchronous: they are on the pull path. */
export interface OrderedReader {
  /** Undefined when absent. The bytes are the caller's to keep. */
  get(key: string): Uint8Array | undefined;
  /** Entries in key order. Safe against writes while iterating (a snapshot). */
  range(range: KeyRange): Iterable<readonly [key: string, value: Uint8Array]>;
}

/** Writes inside one transaction; reads see them. */
export interface OrderedTransaction extends OrderedReader {
  put(key: string, value: Uint8Array): void;
  /** True when the key was there. */
  delete(key: string): boolean;
}

/** An ordered map of strings (≤ 1 900 UTF-8 bytes) to bytes in one local file, or in memory. */
export interface OrderedStore extends OrderedReader, AsyncDisposable {
  /**
   * Runs `change` (synchronously, alone) and commits all of its writes, or none when it throws.
   * Resolves once committed and visible to every reader; {@link OrderedStore.flushed} tells when it survives a power loss.
   */
  transaction<T>(change: (tx: OrderedTransaction) => T): Promise<T>;
  /** Resolves once everything committed so far is on disk. Concurrent callers share one sync. */
  flushed(): Promise<void>;
  /** Removes every entry. */
  clear(): Promise<void>;
}
