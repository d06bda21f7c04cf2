import type { Lease } from "@meridian/eventlog";
import type { Logger, Timers } from "@meridian/runtime";

const RETRY_MS = 1_000;

/** What {@link HandedOverWork} needs. */
export interface HandedOverWorkOptions<W extends AsyncDisposable> {
  /** Held while this process is to work. */
  readonly duty: Pick<Lease, "held" | "onChanged">;
  readonly start: () => Promise<W>;
  readonly timers: Timers;
  readonly log: Logger;
}

/** Work that is done while a lease is held: begun and ended with it, one step after the other. */
export class HandedOverWork<W extends AsyncDisposable> implements AsyncDisposable {
  readonly #options: HandedOverWorkOptions<W>;
  readonly #stop = new AbortController();
  readonly #watching: Disposable;
  #current: W | undefined;
  #turning: Promise<void> | undefined;

  constructor(options: HandedOverWorkOptions<W>) {
    this.#options = options;
    this.#watching = options.duty.onChanged(() => this.#turn());
    this.#turn();
  }

  /** Undefined while another process works, or this one is about to begin. */
  get current(): W | undefined {
    return this.#current;
  }

  /** Resolves once what was due has been begun or ended. */
  async settled(): Promise<void> {
    await this.#turning;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#watching[Symbol.dispose]();
    this.#stop.abort();
    await this.#turning;
    await this.#end();
  }

  #turn(): void {
    this.#turning ??= this.#settle().finally(() => {
      this.#turning = undefined;
      if (!this.#stop.signal.aborted && this.#options.duty.held !== (this.#current !== undefined)) this.#turn();
    });
  }

  async #settle(): Promise<void> {
    const { duty, log, start, timers } = this.#options;
    const { signal } = this.#stop;
    if (!duty.held) {
      await this.#end();
      return;
    }
    if (this.#current !== undefined || signal.aborted) return;
    try {
      this.#current = await start();
      log.info("this replicator does the work of its site");
    } catch (error) {
      log.error("the work of the site could not be begun: trying again", { error });
      await timers.sleep(RETRY_MS, { signal }).catch(() => {});
    }
  }

  async #end(): Promise<void> {
    const ending = this.#current;
    this.#current = undefined;
    await ending?.[Symbol.asyncDispose]();
  }
}
