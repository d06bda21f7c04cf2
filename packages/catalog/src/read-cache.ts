/**
 * A small cache of what was read, absence included, in two generations: an entry that was read since the last turn
 * survives the next one. The fold removes what it changes.
 */
export class ReadCache<T> {
  readonly #capacity: number;
  #young = new Map<string, T>();
  #old = new Map<string, T>();

  /** `capacity` is for each of the generations. */
  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** The cached value, or what `read` returns now. */
  get(key: string, read: () => T): T {
    const young = this.#young.get(key);
    if (young !== undefined || this.#young.has(key)) {
      return young as T;
    }
    const known = this.#old.has(key);
    const value = known ? (this.#old.get(key) as T) : read();
    if (this.#young.size >= this.#capacity) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, value);
    return value;
  }

  delete(key: string): void {
    this.#young.delete(key);
    this.#old.delete(key);
  }

  clear(): void {
    this.#young.clear();
    this.#old.clear();
  }
}
