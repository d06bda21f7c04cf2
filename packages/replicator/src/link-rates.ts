import type { Clock } from "@meridian/runtime";

interface Sample {
  readonly at: number;
  /** Site → bytes that had come from it. */
  readonly moved: ReadonlyMap<string, number>;
}

const WINDOW_MS = 30_000;

/** How fast bytes come from each other site, by what had come at several moments. */
export class LinkRates {
  readonly #clock: Pick<Clock, "monotonic">;
  readonly #landed = new Map<string, number>();
  readonly #samples: Sample[] = [];

  constructor(clock: Pick<Clock, "monotonic">) {
    this.#clock = clock;
    this.#samples.push({ at: clock.monotonic(), moved: new Map() });
  }

  /** Bytes of a blob that has landed. */
  landed(site: string, bytes: number): void {
    this.#landed.set(site, (this.#landed.get(site) ?? 0) + bytes);
  }

  /** Takes a sample; `underWay`: site → bytes of blobs that are still coming. */
  sample(underWay: ReadonlyMap<string, number>): void {
    const now = this.#clock.monotonic();
    const moved = new Map(this.#landed);
    for (const [site, bytes] of underWay) moved.set(site, (moved.get(site) ?? 0) + bytes);
    this.#samples.push({ at: now, moved });
    while (this.#samples.length > 2 && this.#samples[1]!.at <= now - WINDOW_MS) this.#samples.shift();
  }

  /** Bytes a second over the last half minute. */
  of(site: string): number {
    const [first] = this.#samples;
    const last = this.#samples.at(-1);
    if (first === undefined || last === undefined || last.at <= first.at) return 0;
    const gained = (last.moved.get(site) ?? 0) - (first.moved.get(site) ?? 0);
    return Math.max(0, (gained / (last.at - first.at)) * 1_000);
  }
}
