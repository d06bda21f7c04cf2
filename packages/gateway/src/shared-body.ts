import type { Clock, Timers } from "@meridian/runtime";

/** What {@link SharedBody} needs. */
export interface SharedBodyOptions {
  readonly source: AsyncIterable<Uint8Array>;
  /** How many read it; each takes its own {@link SharedBody.reader}. */
  readonly readers: number;
  /** A reader that keeps the others waiting for so long is left behind, milliseconds. */
  readonly stallMs: number;
  readonly onLeftBehind: (reader: number) => void;
  readonly clock: Clock;
  readonly timers: Timers;
}

type Next = IteratorResult<Uint8Array, undefined>;

const OVER: Next = { done: true, value: undefined };
const CHECKS_PER_STALL = 4;

/**
 * One body for several readers at once, without copies: the next chunk is taken from the source when every reader is
 * done with the last one, which is when it asks for more. The slowest sets the pace; one that leaves, or stalls while
 * others wait, does not.
 */
export class SharedBody implements Disposable {
  readonly #options: SharedBodyOptions;
  readonly #source: AsyncIterator<Uint8Array>;
  readonly #live: Set<number>;
  readonly #waiting = new Map<number, PromiseWithResolvers<Next>>();
  readonly #watch: Disposable;
  #end: { readonly error?: unknown } | undefined;
  #taking = false;
  #waitingSince = 0;

  constructor(options: SharedBodyOptions) {
    this.#options = options;
    this.#source = options.source[Symbol.asyncIterator]();
    this.#live = new Set(Array.from({ length: options.readers }, (_, reader) => reader));
    this.#watch = options.timers.every(options.stallMs / CHECKS_PER_STALL, () => this.#leaveStalledBehind());
  }

  /** The body as one reader sees it; to be iterated once. It ends early for a reader that was left behind. */
  reader(reader: number): AsyncIterable<Uint8Array> {
    const iterator: AsyncIterator<Uint8Array, undefined> = {
      next: () => this.#next(reader),
      return: async () => {
        this.leave(reader);
        return OVER;
      },
    };
    return { [Symbol.asyncIterator]: () => iterator };
  }

  /** The others go on without it. */
  leave(reader: number): void {
    this.#live.delete(reader);
    this.#waiting.get(reader)?.resolve(OVER);
    this.#waiting.delete(reader);
    this.#take();
  }

  /** True when the source itself failed: no reader is to blame. */
  get failed(): boolean {
    return this.#end !== undefined && "error" in this.#end;
  }

  [Symbol.dispose](): void {
    this.#watch[Symbol.dispose]();
  }

  #next(reader: number): Promise<Next> {
    if (!this.#live.has(reader)) return Promise.reject(new Error("this reader of the body was left behind"));
    if (this.#end !== undefined) return "error" in this.#end ? Promise.reject(this.#end.error) : Promise.resolve(OVER);
    const next = Promise.withResolvers<Next>();
    if (this.#waiting.size === 0) this.#waitingSince = this.#options.clock.monotonic();
    this.#waiting.set(reader, next);
    this.#take();
    return next.promise;
  }

  /** Takes the next chunk once everybody wants it. */
  #take(): void {
    if (this.#taking || this.#live.size === 0 || this.#waiting.size < this.#live.size) return;
    this.#taking = true;
    this.#source.next().then(
      (next) => this.#give(next.done ? {} : undefined, next.done ? OVER : next),
      (error: unknown) => this.#give({ error }, OVER),
    );
  }

  #give(end: { readonly error?: unknown } | undefined, next: Next): void {
    this.#taking = false;
    this.#end = end;
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const one of waiting) {
      if (end !== undefined && "error" in end) one.reject(end.error);
      else one.resolve(next);
    }
  }

  #leaveStalledBehind(): void {
    const { clock, stallMs, onLeftBehind } = this.#options;
    const stalled = this.#waiting.size > 0 && this.#waiting.size < this.#live.size;
    if (this.#taking || !stalled || clock.monotonic() - this.#waitingSince < stallMs) return;
    for (const reader of [...this.#live].filter((one) => !this.#waiting.has(one))) {
      this.#live.delete(reader);
      onLeftBehind(reader);
    }
    this.#take();
  }
}
