import type { Clock } from "@meridian/runtime";

interface Entry<V> {
  value: V;
  /** On the monotonic clock. */
  until: number;
}

/**
 * A map whose entries run out, and which drops what was not used lately rather than grow beyond its capacity. Two
 * generations: an entry that is used in the old one moves to the young one, and the old one goes when the young is full.
 */
export class ExpiringTable<V> {
  readonly #clock: Pick<Clock, "monotonic">;
  readonly #half: number;
  #young = new Map<string, Entry<V>>();
  #old = new Map<string, Entry<V>>();

  /** Holds at most `capacity` entries. */
  constructor(options: { readonly capacity: number; readonly clock: Pick<Clock, "monotonic"> }) {
    this.#half = Math.max(1, Math.floor(options.capacity / 2));
    this.#clock = options.clock;
  }

  /** Entries that are held, those that have run out included. */
  get size(): number {
    return this.#young.size + this.#old.size;
  }

  /** Undefined when it is not held or has run out. */
  get(key: string): V | undefined {
    const entry = this.#young.get(key) ?? this.#old.get(key);
    if (entry === undefined) return undefined;
    if (entry.until <= this.#clock.monotonic()) {
      this.delete(key);
      return undefined;
    }
    if (this.#old.has(key)) this.#place(key, entry);
    return entry.value;
  }

  set(key: string, value: V, ttlMs: number): void {
    this.#place(key, { value, until: this.#clock.monotonic() + ttlMs });
  }

  delete(key: string): void {
    this.#young.delete(key);
    this.#old.delete(key);
  }

  #place(key: string, entry: Entry<V>): void {
    this.#old.delete(key);
    if (this.#young.size >= this.#half && !this.#young.has(key)) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, entry);
  }
}
