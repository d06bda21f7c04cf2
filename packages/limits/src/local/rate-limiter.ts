import type { Clock } from "@meridian/runtime";
import type { Rate } from "../limit-store.ts";

const DEFAULT_CAPACITY = 50_000;

interface Bucket {
  /** When the bucket is full again, on the monotonic clock: the one number that a bucket needs. */
  fullAt: number;
}

/**
 * Token buckets of one rate in this process's memory, asked on every request: no promise, no allocation for a key that
 * is known. Of more than `capacity` keys it forgets those that were not used lately; a forgotten bucket is full.
 */
export class RateLimiter {
  readonly #clock: Pick<Clock, "monotonic">;
  readonly #half: number;
  readonly #intervalMs: number;
  readonly #depthMs: number;
  #young = new Map<string, Bucket>();
  #old = new Map<string, Bucket>();

  constructor(options: { readonly rate: Rate; readonly clock: Pick<Clock, "monotonic">; readonly capacity?: number }) {
    this.#clock = options.clock;
    this.#half = Math.max(1, Math.floor((options.capacity ?? DEFAULT_CAPACITY) / 2));
    this.#intervalMs = 1000 / options.rate.perSecond;
    this.#depthMs = options.rate.burst * this.#intervalMs;
  }

  /** Keys that are held. */
  get size(): number {
    return this.#young.size + this.#old.size;
  }

  /** Takes one token: 0 when there was one, else the milliseconds until there is one (nothing is taken). */
  take(key: string): number {
    const now = this.#clock.monotonic();
    const bucket = this.#young.get(key) ?? this.#revive(key);
    const fullAt = Math.max(now, bucket.fullAt) + this.#intervalMs;
    const waitMs = fullAt - now - this.#depthMs;
    // Sums of fractions: a thousandth of a millisecond early is no breach.
    if (waitMs > 0.001) return waitMs;
    bucket.fullAt = fullAt;
    return 0;
  }

  #revive(key: string): Bucket {
    const bucket = this.#old.get(key) ?? { fullAt: 0 };
    this.#old.delete(key);
    if (this.#young.size >= this.#half) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, bucket);
    return bucket;
  }
}
