import type { Clock } from "@meridian/runtime";
import type { LimitStore, Rate } from "../limit-store.ts";
import { ExpiringTable } from "./expiring-table.ts";
import { LeaseHolders } from "./lease-holders.ts";
import { RateLimiter } from "./rate-limiter.ts";

/** Keys of each kind that are held at once: some 10 MB when all are in use. */
const DEFAULT_CAPACITY = 20_000;
/** Callers use a handful of rates; more than this is a mistake that must not become a leak. */
const MAX_RATES = 16;

/**
 * The driver that keeps everything in this process. Its memory is bounded by `capacity` keys of each kind; what was not
 * used lately goes first.
 */
export function createLocalStore(options: {
  readonly clock: Pick<Clock, "monotonic">;
  readonly capacity?: number;
}): LimitStore {
  const { clock, capacity = DEFAULT_CAPACITY } = options;
  const failures = new ExpiringTable<number>({ clock, capacity });
  const notes = new ExpiringTable<string>({ clock, capacity });
  const leases = new LeaseHolders({ clock, capacity });
  const limiters = new Map<string, RateLimiter>();

  const limiterOf = (rate: Rate): RateLimiter => {
    const name = `${rate.perSecond}/${rate.burst}`;
    let limiter = limiters.get(name);
    if (limiter === undefined) {
      if (limiters.size >= MAX_RATES) limiters.clear();
      limiter = new RateLimiter({ rate, clock, capacity });
      limiters.set(name, limiter);
    }
    return limiter;
  };

  return {
    async addFailure(key, { forgetAfterMs }) {
      const count = (failures.get(key) ?? 0) + 1;
      failures.set(key, count, forgetAfterMs);
      return count;
    },
    async clearFailures(key) {
      failures.delete(key);
    },
    takeToken: async (key, rate) => limiterOf(rate).take(key),
    takeLease: (key, lease, terms) => leases.takeLease(key, lease, terms),
    releaseLease: (key, lease) => leases.releaseLease(key, lease),
    readNote: async (key) => notes.get(key),
    async keepNote(key, note, { ttlMs }) {
      notes.set(key, note, ttlMs);
    },
    async [Symbol.asyncDispose]() {},
  };
}
