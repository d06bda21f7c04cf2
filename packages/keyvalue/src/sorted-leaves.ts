import { compareKeys } from "./key.ts";

/** A key with its value; never changed once in a leaf. */
export type Entry = readonly [key: string, value: Uint8Array];

type Leaf = readonly Entry[];

const LEAF_ENTRIES = 256;

/**
 * A sorted map in two levels: an array of sorted arrays. It is never changed in place, so that a reader or a
 * transaction that may roll back keeps the whole of an earlier state by keeping the reference.
 */
export class SortedLeaves {
  static readonly empty: SortedLeaves = new SortedLeaves([]);
  readonly #leaves: readonly Leaf[];

  private constructor(leaves: readonly Leaf[]) {
    this.#leaves = leaves;
  }

  get(key: string): Uint8Array | undefined {
    const leaf = this.#leaves[this.#leafFor(key)];
    if (leaf === undefined) return undefined;
    const entry = leaf[lowerBound(leaf, key)];
    return entry !== undefined && entry[0] === key ? entry[1] : undefined;
  }

  with(key: string, value: Uint8Array): SortedLeaves {
    const at = this.#leafFor(key);
    const leaf = this.#leaves[at] ?? [];
    const index = lowerBound(leaf, key);
    const changed = leaf.slice();
    changed.splice(index, leaf[index]?.[0] === key ? 1 : 0, [key, value]);
    if (changed.length <= LEAF_ENTRIES) return this.#replacing(at, changed);
    // Appending in order is common (logs): leave the full leaf full.
    const cut = index === leaf.length ? LEAF_ENTRIES : LEAF_ENTRIES >> 1;
    return this.#replacing(at, changed.slice(0, cut), changed.slice(cut));
  }

  /** The same map when the key is absent. */
  without(key: string): SortedLeaves {
    const at = this.#leafFor(key);
    const leaf = this.#leaves[at];
    if (leaf === undefined) return this;
    const index = lowerBound(leaf, key);
    if (leaf[index]?.[0] !== key) return this;
    return leaf.length === 1 ? this.#replacing(at) : this.#replacing(at, leaf.toSpliced(index, 1));
  }

  /** Entries with `from` ≤ key < `to`, ascending; either bound may be absent. */
  *ascending(from: string | undefined, to: string | undefined): Generator<Entry> {
    const first = from === undefined ? 0 : this.#leafFor(from);
    for (let at = first; at < this.#leaves.length; at++) {
      const leaf = this.#leaves[at]!;
      for (let i = at === first && from !== undefined ? lowerBound(leaf, from) : 0; i < leaf.length; i++) {
        const entry = leaf[i]!;
        if (to !== undefined && compareKeys(entry[0], to) >= 0) return;
        yield entry;
      }
    }
  }

  /** Entries with `from` ≥ key > `to`, descending; either bound may be absent. */
  *descending(from: string | undefined, to: string | undefined): Generator<Entry> {
    const first = from === undefined ? this.#leaves.length - 1 : this.#leafFor(from);
    for (let at = first; at >= 0; at--) {
      const leaf = this.#leaves[at] ?? [];
      for (let i = leaf.length - 1; i >= 0; i--) {
        const entry = leaf[i]!;
        if (from !== undefined && compareKeys(entry[0], from) > 0) continue;
        if (to !== undefined && compareKeys(entry[0], to) <= 0) return;
        yield entry;
      }
    }
  }

  /** The leaf that holds the key or would: the last one that begins at or before it. */
  #leafFor(key: string): number {
    let low = 0;
    let high = this.#leaves.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (compareKeys(this.#leaves[middle]![0]![0], key) <= 0) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  #replacing(at: number, ...leaves: Leaf[]): SortedLeaves {
    return new SortedLeaves(this.#leaves.toSpliced(at, 1, ...leaves));
  }
}

/** The first index whose key is not below `key`. */
function lowerBound(leaf: Leaf, key: string): number {
  let low = 0;
  let high = leaf.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (compareKeys(leaf[middle]![0], key) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
