import type { Digest } from "@meridian/oci";
import type { Clock } from "@meridian/runtime";

// A node that lied about so many blobs within the time is not asked for any.
const LIES_THAT_CONDEMN_A_NODE = 3;

/** Remembers, in memory and for a time, which copies were found to be wrong. */
export class Quarantine {
  readonly #clock: Clock;
  readonly #forMs: number;
  /** node → digest → monotonic time of its end. */
  readonly #until = new Map<string, Map<Digest, number>>();

  constructor({ clock, forMs }: { clock: Clock; forMs: number }) {
    this.#clock = clock;
    this.#forMs = forMs;
  }

  add(node: string, digest: Digest): void {
    const lies = this.#until.get(node) ?? new Map<Digest, number>();
    lies.set(digest, this.#clock.monotonic() + this.#forMs);
    this.#until.set(node, lies);
  }

  /** Whether the node is not to be asked for the blob. */
  has(node: string, digest: Digest): boolean {
    const lies = this.#until.get(node);
    if (lies === undefined) return false;
    const now = this.#clock.monotonic();
    for (const [lie, until] of lies) if (until <= now) lies.delete(lie);
    if (lies.size === 0) this.#until.delete(node);
    return lies.has(digest) || lies.size >= LIES_THAT_CONDEMN_A_NODE;
  }
}
