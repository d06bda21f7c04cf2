import { boundsOf } from "./bounds.ts";
import { requireKey } from "./key.ts";
import { KeyValueError } from "./key-value-error.ts";
import type { KeyRange, OrderedStore, OrderedTransaction } from "./ordered-store.ts";
import { type Entry, SortedLeaves } from "./sorted-leaves.ts";
import { requireSynchronous } from "./synchronous.ts";

/** A store in memory, with the same behaviour as the one on disk; its content ends with it. */
export function createMemoryStore(): OrderedStore {
  return new MemoryStore();
}

class MemoryStore implements OrderedStore {
  #entries = SortedLeaves.empty;
  #closed = false;

  get(key: string): Uint8Array | undefined {
    return this.#open().get(key)?.slice();
  }

  range(range: KeyRange): Iterable<Entry> {
    this.#open();
    return { [Symbol.iterator]: () => entriesOf(this.#open(), range) };
  }

  async transaction<T>(change: (tx: OrderedTransaction) => T): Promise<T> {
    // Later, as in a store on disk: the caller's own code must not see it happen inside its call.
    await Promise.resolve();
    let entries = this.#open();
    const tx: OrderedTransaction = {
      get: (key) => entries.get(key)?.slice(),
      range: (range) => [...entriesOf(entries, range)],
      put: (key, value) => {
        entries = entries.with(requireKey(key), Uint8Array.from(value));
      },
      delete: (key) => {
        const before = entries;
        entries = entries.without(key);
        return entries !== before;
      },
    };
    const result = requireSynchronous(change(tx));
    this.#entries = entries;
    return result;
  }

  async flushed(): Promise<void> {
    this.#open();
  }

  async clear(): Promise<void> {
    this.#open();
    this.#entries = SortedLeaves.empty;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#entries = SortedLeaves.empty;
  }

  #open(): SortedLeaves {
    if (this.#closed) throw new KeyValueError("closed", "the store has been closed");
    return this.#entries;
  }
}

function* entriesOf(entries: SortedLeaves, range: KeyRange): Generator<Entry> {
  const bounds = boundsOf(range);
  if (bounds === undefined) return;
  const { from, to, reverse } = bounds;
  let left = bounds.limit;
  for (const [key, value] of reverse ? entries.descending(from, to) : entries.ascending(from, to)) {
    yield [key, value.slice()];
    if (--left <= 0) return;
  }
}
