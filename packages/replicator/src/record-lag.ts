import type { CopierStatus } from "@meridian/link";
import type { Clock } from "@meridian/runtime";

/** How far a copy is behind its origin. */
export interface Lag {
  /** Entries that are known and not copied yet. */
  readonly records: number;
  /** Milliseconds for which some have been. */
  readonly ms: number;
}

const NONE: Lag = { records: 0, ms: 0 };

/** How long each copy has been behind: since when it has not passed the head that it knew. */
export class RecordLag {
  readonly #clock: Pick<Clock, "monotonic">;
  readonly #behind = new Map<string, { readonly head: number; readonly since: number; readonly records: number }>();

  constructor(clock: Pick<Clock, "monotonic">) {
    this.#clock = clock;
  }

  /** Looks at the copies, now and then. */
  look(copies: readonly CopierStatus[]): void {
    const now = this.#clock.monotonic();
    for (const { origin, head = 0, copied } of copies) {
      const reached = copied?.sequence ?? 0;
      const known = this.#behind.get(origin);
      if (reached >= head) this.#behind.delete(origin);
      else if (known === undefined || reached >= known.head)
        this.#behind.set(origin, { head, since: now, records: head - reached });
      else this.#behind.set(origin, { ...known, records: head - reached });
    }
  }

  of(origin: string): Lag {
    const known = this.#behind.get(origin);
    return known === undefined
      ? NONE
      : { records: known.records, ms: Math.round(this.#clock.monotonic() - known.since) };
  }
}
