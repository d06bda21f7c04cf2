import type { Clock } from "@meridian/runtime";
import type { LeaseTable, LeaseTerms } from "../limit-store.ts";
import { ExpiringTable } from "./expiring-table.ts";

/** Leases in this process's memory: a map of lease to end for each key that holds any. */
export class LeaseHolders implements LeaseTable {
  readonly #clock: Pick<Clock, "monotonic">;
  readonly #holders: ExpiringTable<Map<string, number>>;

  constructor(options: { readonly capacity: number; readonly clock: Pick<Clock, "monotonic"> }) {
    this.#clock = options.clock;
    this.#holders = new ExpiringTable(options);
  }

  async takeLease(key: string, lease: string, { max, ttlMs }: LeaseTerms): Promise<boolean> {
    const now = this.#clock.monotonic();
    const held = this.#holders.get(key) ?? new Map<string, number>();
    // Only when it matters: a holder below its bound is not searched.
    if (held.size >= max) for (const [other, until] of held) if (until <= now) held.delete(other);
    const isTaken = held.has(lease) || held.size < max;
    if (isTaken) held.set(lease, now + ttlMs);
    // As long as its longest lease, which is at most this one.
    if (held.size > 0) this.#holders.set(key, held, ttlMs);
    return isTaken;
  }

  async releaseLease(key: string, lease: string): Promise<void> {
    const held = this.#holders.get(key);
    held?.delete(lease);
    if (held?.size === 0) this.#holders.delete(key);
  }
}
