/** `pull`: somebody waits for the blob. Nobody does for `metadata`, manifests and configs, and for `background`, the rest. */
export type FetchClass = "pull" | "metadata" | "background";

/** How many fetches run at once. `background` is for metadata too: however much of it there is, a pull finds its slots free. */
export type FetchLimits = Readonly<Record<Slot, number>>;

type Slot = "pull" | "background";

/** A place in the queue. */
export interface FetchTicket {
  /** Resolves when the fetch may run; disposing what it resolves to gives the slot back. */
  readonly granted: Promise<Disposable>;
  /** What it is fetched for at present. */
  readonly class: FetchClass;
  /** Somebody waits for it now. Once it was granted it keeps its slot. */
  promote(): void;
  /** Leaves the queue, or gives the slot back. Idempotent. */
  cancel(): void;
}

interface Waiting {
  queue: FetchClass;
  readonly size: number;
  readonly grant: () => void;
}

// Every so many grants the oldest goes before the smallest, so that a stream of small blobs starves no large one.
const OLDEST_EVERY = 4;

/** Lets a bounded number of fetches run. Pulls have slots of their own; of the others metadata go first, then the smallest. */
export class FetchScheduler {
  readonly #limits: FetchLimits;
  readonly #running: Record<Slot, number> = { pull: 0, background: 0 };
  readonly #waiting: Waiting[] = [];
  #grants = 0;

  constructor(limits: FetchLimits) {
    this.#limits = limits;
  }

  /** `size` in bytes; unknown ones go after known ones. */
  enqueue(queue: FetchClass, size: number | undefined): FetchTicket {
    const { promise, resolve } = Promise.withResolvers<Disposable>();
    let over = false;
    let slotOf: Slot | undefined;
    const cancel = (): void => {
      if (over) return;
      over = true;
      if (slotOf === undefined) this.#waiting.splice(this.#waiting.indexOf(entry), 1);
      else this.#running[slotOf] -= 1;
      this.#grantNext();
    };
    const grant = (): void => {
      slotOf = slotFor(entry.queue);
      this.#running[slotOf] += 1;
      resolve({ [Symbol.dispose]: cancel });
    };
    const entry: Waiting = { queue, size: size ?? Number.POSITIVE_INFINITY, grant };
    this.#waiting.push(entry);
    this.#grantNext();
    return {
      granted: promise,
      get class() {
        return entry.queue;
      },
      promote: () => {
        entry.queue = "pull";
        this.#grantNext();
      },
      cancel,
    };
  }

  #grantNext(): void {
    for (const slot of ["pull", "background"] as const) {
      while (this.#running[slot] < this.#limits[slot]) {
        const next = this.#takeNext(slot);
        if (next === undefined) break;
        next.grant();
      }
    }
  }

  #takeNext(slot: Slot): Waiting | undefined {
    this.#grants += 1;
    const oldestFirst = this.#grants % OLDEST_EVERY === 0;
    let best: Waiting | undefined;
    for (const entry of this.#waiting) {
      if (slotFor(entry.queue) !== slot) continue;
      if (best === undefined || (!oldestFirst && isBefore(entry, best))) best = entry;
    }
    if (best === undefined) this.#grants -= 1;
    else this.#waiting.splice(this.#waiting.indexOf(best), 1);
    return best;
  }
}

function slotFor(queue: FetchClass): Slot {
  return queue === "pull" ? "pull" : "background";
}

/** Metadata first: without it nobody knows what else an image needs. Then the smaller one. */
function isBefore(one: Waiting, other: Waiting): boolean {
  if (one.queue !== other.queue) return one.queue === "metadata";
  return one.size < other.size;
}
