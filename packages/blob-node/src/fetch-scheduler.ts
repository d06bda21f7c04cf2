/** `pull`: somebody waits for the blob; `background`: nobody does. */
export type FetchClass = "pull" | "background";

/** A place in the queue. */
export interface FetchTicket {
  /** Resolves when the fetch may run; disposing what it resolves to gives the slot back. */
  readonly granted: Promise<Disposable>;
  /** Somebody waits for it now. No effect once it was granted. */
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

/** Lets a bounded number of fetches run. The two classes have slots of their own; within one, the smallest goes first. */
export class FetchScheduler {
  readonly #limits: Readonly<Record<FetchClass, number>>;
  readonly #running: Record<FetchClass, number> = { pull: 0, background: 0 };
  readonly #waiting: Waiting[] = [];
  #grants = 0;

  constructor(limits: Readonly<Record<FetchClass, number>>) {
    this.#limits = limits;
  }

  /** `size` in bytes; unknown ones go after known ones. */
  enqueue(queue: FetchClass, size: number | undefined): FetchTicket {
    const { promise, resolve } = Promise.withResolvers<Disposable>();
    let over = false;
    let slotOf: FetchClass | undefined;
    const cancel = (): void => {
      if (over) return;
      over = true;
      if (slotOf === undefined) this.#waiting.splice(this.#waiting.indexOf(entry), 1);
      else this.#running[slotOf] -= 1;
      this.#grantNext();
    };
    const grant = (): void => {
      slotOf = entry.queue;
      this.#running[slotOf] += 1;
      resolve({ [Symbol.dispose]: cancel });
    };
    const entry: Waiting = { queue, size: size ?? Number.POSITIVE_INFINITY, grant };
    this.#waiting.push(entry);
    this.#grantNext();
    return {
      granted: promise,
      promote: () => {
        entry.queue = "pull";
        this.#grantNext();
      },
      cancel,
    };
  }

  #grantNext(): void {
    for (const queue of ["pull", "background"] as const) {
      while (this.#running[queue] < this.#limits[queue]) {
        const next = this.#takeNext(queue);
        if (next === undefined) break;
        next.grant();
      }
    }
  }

  #takeNext(queue: FetchClass): Waiting | undefined {
    this.#grants += 1;
    const oldestFirst = this.#grants % OLDEST_EVERY === 0;
    let best: Waiting | undefined;
    for (const entry of this.#waiting) {
      if (entry.queue !== queue) continue;
      if (best === undefined || (!oldestFirst && entry.size < best.size)) best = entry;
    }
    if (best === undefined) this.#grants -= 1;
    else this.#waiting.splice(this.#waiting.indexOf(best), 1);
    return best;
  }
}
