import { isLinkOpen, type LinkRules } from "@meridian/cluster";
import type { Clock, Timers } from "@meridian/runtime";
import type { FetchClass } from "./fetch-scheduler.ts";

/** What {@link LinkGate} needs. */
export interface LinkGateOptions {
  readonly rules: LinkRules;
  /** Nodes of this site that share its links. */
  readonly sharers: () => number;
  readonly clock: Clock;
  readonly timers: Timers;
}

/** Bytes that wait for their part of a link. */
interface Waiting {
  readonly bytes: number;
  readonly isPull: () => boolean;
  readonly pass: () => void;
}

/** What has been taken of one link. */
interface Budget {
  /** Until when the link is taken, on the monotonic clock. */
  takenUntil: number;
  readonly waiting: Waiting[];
  running: boolean;
}

/** Keeps what comes over each link within the link's rules: its windows and its rate, pulls first. */
export class LinkGate implements Disposable {
  readonly #options: LinkGateOptions;
  readonly #budgets = new Map<string, Budget>();
  readonly #stop = new AbortController();

  constructor(options: LinkGateOptions) {
    this.#options = options;
  }

  /** Whether bytes of that class may come from the site now. */
  isOpen(site: string, fetchClass: FetchClass): boolean {
    const { rules, clock } = this.#options;
    return fetchClass !== "background" || isLinkOpen(rules, site, clock.now());
  }

  /** Undefined for a site without a rate; else resolves when the bytes have had their time on the link. */
  pass(site: string, bytes: number, isPull: () => boolean, signal?: AbortSignal): Promise<void> | undefined {
    if (this.#options.rules[site]?.maxBytesPerSecond === undefined) return undefined;
    const budget = this.#budgets.get(site) ?? { takenUntil: 0, waiting: [], running: false };
    this.#budgets.set(site, budget);
    const passed = this.#wait(budget, { bytes, isPull }, signal);
    if (!budget.running) void this.#run(site, budget);
    return passed;
  }

  /** Nothing passes any more; what waits goes on waiting for its own signal. */
  [Symbol.dispose](): void {
    this.#stop.abort();
  }

  #wait(budget: Budget, { bytes, isPull }: Omit<Waiting, "pass">, signal: AbortSignal | undefined): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const entry = { bytes, isPull, pass: resolve };
    const onAbort = (): void => {
      budget.waiting.splice(budget.waiting.indexOf(entry) >>> 0, 1);
      reject(signal?.reason);
    };
    budget.waiting.push(entry);
    signal?.addEventListener("abort", onAbort, { once: true });
    return promise.finally(() => signal?.removeEventListener("abort", onAbort));
  }

  async #run(site: string, budget: Budget): Promise<void> {
    const { clock, timers } = this.#options;
    budget.running = true;
    while (budget.waiting.length > 0 && !this.#stop.signal.aborted) {
      const pull = budget.waiting.findIndex(({ isPull }) => isPull());
      const [next] = budget.waiting.splice(Math.max(pull, 0), 1);
      if (next === undefined) break;
      const now = clock.monotonic();
      budget.takenUntil = Math.max(budget.takenUntil, now) + next.bytes / this.#bytesPerMs(site);
      const waitMs = budget.takenUntil - now;
      if (waitMs > 0) await timers.sleep(waitMs, { signal: this.#stop.signal }).catch(() => {});
      next.pass();
    }
    budget.running = false;
  }

  /** Each node of the site has its part of the link. */
  #bytesPerMs(site: string): number {
    const { rules, sharers } = this.#options;
    const whole = rules[site]?.maxBytesPerSecond ?? Number.POSITIVE_INFINITY;
    return whole / Math.max(1, sharers()) / 1_000;
  }
}
