import type { NodeWatch } from "@meridian/cluster";
import type { Timers } from "@meridian/runtime";

const LOOK_EVERY_MS = 1_000;

/** Which blob nodes of this site do not answer, and which of them have been silent for so long that they are given up. */
export class LostNodes implements Disposable {
  readonly #watch: Pick<NodeWatch, "keepers" | "state" | "awayForMs">;
  readonly #lostAfterMs: number;
  readonly #looking: Disposable;
  readonly #nodes: () => readonly string[];
  #away: ReadonlySet<string> = new Set();
  #lost: ReadonlySet<string> = new Set();

  /** `changed` is called when either set has changed. `nodes`: all blob nodes of this site. */
  constructor(options: {
    readonly watch: Pick<NodeWatch, "keepers" | "state" | "awayForMs">;
    readonly nodes: () => readonly string[];
    readonly lostAfterMs: number;
    readonly timers: Timers;
    readonly changed: () => void;
  }) {
    this.#watch = options.watch;
    this.#nodes = options.nodes;
    this.#lostAfterMs = options.lostAfterMs;
    this.#looking = options.timers.every(LOOK_EVERY_MS, () => {
      const before = [...this.#away, ...this.#lost].join();
      this.#look();
      if ([...this.#away, ...this.#lost].join() !== before) options.changed();
    });
  }

  get away(): ReadonlySet<string> {
    return this.#away;
  }

  get lost(): ReadonlySet<string> {
    return this.#lost;
  }

  [Symbol.dispose](): void {
    this.#looking[Symbol.dispose]();
  }

  #look(): void {
    const away = this.#nodes().filter((node) => this.#watch.state(node) === "away");
    this.#away = new Set(away);
    this.#lost = new Set(away.filter((node) => this.#watch.awayForMs(node) >= this.#lostAfterMs));
  }
}
