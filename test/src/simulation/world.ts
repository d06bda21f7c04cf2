import type { Clock, Random, Timers } from "@meridian/runtime";
import { seeded } from "../harness/seeded.ts";

interface Scheduled {
  readonly due: number;
  readonly order: number;
  readonly run: () => void;
  cancelled: boolean;
}

/**
 * Time, chance and the order of things in a simulation: everything that happens later is in one queue, run one after
 * the other, each after all promise reactions of the one before. One seed gives one run.
 */
export class World {
  readonly seed: number;
  readonly #draw: ReturnType<typeof seeded>;
  readonly #queue: Scheduled[] = [];
  #now = 0;
  #order = 0;
  /** How many events were run. */
  events = 0;

  constructor(seed: number) {
    this.seed = seed;
    this.#draw = seeded(seed);
  }

  /** Milliseconds since the beginning. */
  get now(): number {
    return this.#now;
  }

  /** A whole number from `from` on and below `to`. */
  integer(from: number, to: number): number {
    return this.#draw.integer(from, to);
  }

  /** True in `percent` of a hundred cases. */
  chance(percent: number): boolean {
    return this.integer(0, 100) < percent;
  }

  /** A generator of its own, so that what it draws does not change what others do. */
  random(): Random {
    const own = seeded(this.integer(0, 2 ** 31));
    return {
      next: () => own.integer(0, 2 ** 31) / 2 ** 31,
      bytes: (length) => Uint8Array.from({ length }, () => own.integer(0, 256)),
    };
  }

  after(ms: number, run: () => void): Disposable {
    const entry: Scheduled = { due: this.#now + Math.max(0, ms), order: this.#order++, run, cancelled: false };
    this.#push(entry);
    return {
      [Symbol.dispose]: () => {
        entry.cancelled = true;
      },
    };
  }

  /** Runs what falls due within so many milliseconds. */
  async run(ms: number): Promise<void> {
    const until = this.#now + ms;
    await settle();
    for (let next = this.#queue[0]; next !== undefined && next.due <= until; next = this.#queue[0]) {
      this.#pop();
      if (next.cancelled) continue;
      this.#now = next.due;
      this.events += 1;
      next.run();
      await settle();
    }
    this.#now = until;
  }

  // A binary heap by due time, then order.
  #push(entry: Scheduled): void {
    const queue = this.#queue;
    let at = queue.push(entry) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(entry, queue[parent]!)) break;
      queue[at] = queue[parent]!;
      at = parent;
    }
    queue[at] = entry;
  }

  #pop(): void {
    const queue = this.#queue;
    const last = queue.pop()!;
    if (queue.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= queue.length) break;
      if (child + 1 < queue.length && before(queue[child + 1]!, queue[child]!)) child += 1;
      if (!before(queue[child]!, last)) break;
      queue[at] = queue[child]!;
      at = child;
    }
    queue[at] = last;
  }
}

function before(a: Scheduled, b: Scheduled): boolean {
  return a.due < b.due || (a.due === b.due && a.order < b.order);
}

/** A turn of the event loop: every promise reaction has run before it. */
function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** One life of a process: when it is over, nothing of it happens any more and nothing that it waits for comes. */
export class Life {
  readonly #world: World;
  /** Persistence points that it still passes before it dies there; never when undefined. */
  pointsLeft: number | undefined;
  #onDeath: () => void = () => {};
  alive = true;

  constructor(world: World) {
    this.#world = world;
  }

  /** Called when it dies at a persistence point. */
  onDeath(run: () => void): void {
    this.#onDeath = run;
  }

  after(ms: number, run: () => void): Disposable {
    return this.#world.after(ms, () => {
      if (this.alive) run();
    });
  }

  /** Resolves later; never once the life is over. */
  wait(ms: number): Promise<void> {
    return new Promise((resolve) => this.after(ms, resolve));
  }

  /** A place where a crash matters. Resolves at once or a little later; never when the process dies there. */
  async persistencePoint(): Promise<void> {
    if (!this.alive) await new Promise<void>(() => {});
    if (this.pointsLeft !== undefined && this.pointsLeft-- <= 0) {
      this.pointsLeft = undefined;
      this.#onDeath();
      await new Promise<void>(() => {});
    }
    if (this.#world.chance(40)) await this.wait(this.#world.integer(0, 4));
  }

  timers(): Timers {
    const after = (ms: number, run: () => void): Disposable => this.after(ms, run);
    return {
      sleep: (ms, { signal } = {}) =>
        new Promise((resolve, reject) => {
          if (signal?.aborted) {
            reject(signal.reason);
            return;
          }
          const timer = after(ms, () => {
            signal?.removeEventListener("abort", onAbort);
            resolve();
          });
          const onAbort = (): void => {
            timer[Symbol.dispose]();
            reject(signal?.reason);
          };
          signal?.addEventListener("abort", onAbort, { once: true });
        }),
      after,
      every(ms, run) {
        let timer: Disposable;
        const again = (): Disposable =>
          after(Math.max(1, ms), () => {
            timer = again();
            run();
          });
        timer = again();
        return { [Symbol.dispose]: () => timer[Symbol.dispose]() };
      },
    };
  }
}

/** The wall clock of a site: the world's time, off by as much as is said at the moment. */
export function clockOf(world: World, skewMs: () => number): Clock {
  const startMs = 1_800_000_000_000;
  return { now: () => startMs + world.now + skewMs(), monotonic: () => world.now };
}
