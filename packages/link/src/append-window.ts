import type { Cursor, Incarnation } from "@meridian/eventlog";
import type { linkV1 } from "@meridian/wire";
import type { Copy } from "./copy.ts";

/** Appends under way at once: enough to share fsyncs, few enough to hold. */
const WINDOW_ENTRIES = 1_000;

interface UnderWay {
  readonly entries: number;
  readonly settled: Promise<void>;
}

/** The appends of one connection that are under way: the next entries are read while the disk still takes those before. */
export class AppendWindow {
  readonly #copy: Copy;
  readonly #stored: (cursor: Cursor | undefined) => void;
  readonly #failed: (error: unknown) => void;
  readonly #underWay = new Set<UnderWay>();
  #entries = 0;
  #failure: { readonly error: unknown } | undefined;

  /** `stored` is called as the copy grows, `failed` once, with the first failure: nothing is stored after it. */
  constructor(options: {
    copy: Copy;
    stored: (cursor: Cursor | undefined) => void;
    failed: (error: unknown) => void;
  }) {
    this.#copy = options.copy;
    this.#stored = options.stored;
    this.#failed = options.failed;
  }

  /** What an append failed with; undefined while all is well. */
  get failure(): { readonly error: unknown } | undefined {
    return this.#failure;
  }

  /** Begins to append; resolves when there is room for more. @throws what an earlier append failed with. */
  async take(entries: readonly linkV1.Entry[], incarnation: Incarnation): Promise<void> {
    for (let start = 0; start < entries.length; start += WINDOW_ENTRIES) {
      const part = entries.slice(start, start + WINDOW_ENTRIES);
      while (this.#entries + part.length > WINDOW_ENTRIES && this.#underWay.size > 0) await this.#oldest();
      if (this.#failure !== undefined) throw this.#failure.error;
      this.#begin(part, incarnation);
    }
  }

  /** Resolves when nothing is under way any more, however it ended. */
  async settled(): Promise<void> {
    while (this.#underWay.size > 0) await this.#oldest();
  }

  async #oldest(): Promise<void> {
    const [oldest] = this.#underWay;
    await oldest?.settled;
  }

  #begin(entries: readonly linkV1.Entry[], incarnation: Incarnation): void {
    const settled = this.#copy
      .append(entries, incarnation)
      .then(
        () => this.#stored(this.#copy.cursor),
        (error: unknown) => {
          if (this.#failure !== undefined) return;
          this.#failure = { error };
          this.#failed(error);
        },
      )
      .finally(() => {
        this.#underWay.delete(one);
        this.#entries -= one.entries;
      });
    const one = { entries: entries.length, settled };
    this.#underWay.add(one);
    this.#entries += one.entries;
  }
}
