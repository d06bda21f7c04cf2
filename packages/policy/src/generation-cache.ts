/**
 * A bounded map that forgets what was not asked for lately. Two generations instead of a linked list: a hit in the
 * young one costs one lookup and moves nothing.
 */
export class GenerationCache<K, V> {
  readonly #half: number;
  #young = new Map<K, V>();
  #old = new Map<K, V>();

  /** Holds at most `capacity` entries. */
  constructor(capacity: number) {
    this.#half = Math.max(1, Math.floor(capacity / 2));
  }

  get size(): number {
    return this.#young.size + this.#old.size;
  }

  /** Undefined when it is not held. */
  get(key: K): V | undefined {
    const young = this.#young.get(key);
    if (young !== undefined) return young;
    const old = this.#old.get(key);
    if (old === undefined) return undefined;
    this.#old.delete(key);
    this.set(key, old);
    return old;
  }

  set(key: K, value: V): void {
    if (this.#young.size >= this.#half && !this.#young.has(key)) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#old.delete(key);
    this.#young.set(key, value);
  }

  delete(key: K): void {
    this.#young.delete(key);
    this.#old.delete(key);
  }

  clear(): void {
    this.#young.clear();
    this.#old.clear();
  }

  /** Deletes every entry for which `condition` holds. */
  deleteWhere(condition: (value: V, key: K) => boolean): void {
    for (const map of [this.#young, this.#old])
      for (const [key, value] of map) if (condition(value, key)) map.delete(key);
  }
}
