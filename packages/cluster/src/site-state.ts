import type { SiteHealth } from "./peers.ts";

/** When a site changes state. */
export interface SiteStateLimits {
  /** Probes missed in a row that make a live site suspect. */
  readonly suspectAfterMisses: number;
  /** Failures of real requests, without a good one between them, that make a live site suspect. */
  readonly suspectAfterFailures: number;
  /** Milliseconds without any answer after which a site that was reached before is down. */
  readonly downAfterMs: number;
  /** Good probes in a row that bring a suspect or down site back; one is enough for an unknown one. */
  readonly goodsToRecover: number;
}

export const DEFAULT_SITE_STATE_LIMITS: SiteStateLimits = {
  suspectAfterMisses: 2,
  suspectAfterFailures: 3,
  downAfterMs: 3_000,
  goodsToRecover: 2,
};

/** Weight of a new round trip in the moving average. */
const RTT_ALPHA = 0.3;

/** What is known of one site; all times are monotonic milliseconds. Pure: it neither waits nor asks. */
export class SiteState {
  readonly site: string;
  readonly #limits: SiteStateLimits;
  #state: SiteHealth["state"] = "unknown";
  #rttMs: number | undefined;
  #failing: readonly string[] = [];
  #lastAnswerAt: number | undefined;
  #misses = 0;
  #failures = 0;
  #goods = 0;

  constructor(site: string, limits: SiteStateLimits = DEFAULT_SITE_STATE_LIMITS) {
    this.site = site;
    this.#limits = limits;
  }

  get health(): SiteHealth {
    const health = { site: this.site, state: this.#state, failing: this.#failing };
    return this.#rttMs === undefined ? health : { ...health, rttMs: this.#rttMs };
  }

  /** When the site counts as down unless it answers before; undefined when it was never reached or is down already. */
  get downAt(): number | undefined {
    if (this.#lastAnswerAt === undefined || this.#state === "down") return undefined;
    return this.#lastAnswerAt + this.#limits.downAfterMs;
  }

  /** True while nothing casts doubt on a live site. */
  get calm(): boolean {
    return this.#state === "live" && this.#misses === 0 && this.#failures === 0;
  }

  /** A probe was answered. */
  answered(at: number, rttMs: number, failing: readonly string[]): void {
    this.#rttMs = this.#rttMs === undefined ? rttMs : this.#rttMs + RTT_ALPHA * (rttMs - this.#rttMs);
    this.#failing = failing;
    this.#lastAnswerAt = at;
    this.#misses = 0;
    this.#goods += 1;
    const needed = this.#state === "unknown" ? 1 : this.#limits.goodsToRecover;
    if (this.#state !== "live" && this.#goods >= needed) {
      this.#failures = 0;
      this.#state = "live";
    }
  }

  /** A probe was not answered in time, or refused. */
  missed(at: number): void {
    this.#misses += 1;
    this.#goods = 0;
    if (this.#state === "live" && this.#misses >= this.#limits.suspectAfterMisses) this.#state = "suspect";
    this.elapsed(at);
  }

  /** A real request to the site ended. A good one shows life but does not by itself bring a site back. */
  reported(at: number, outcome: "ok" | "failed"): void {
    if (outcome === "ok") {
      this.#failures = 0;
      if (this.#lastAnswerAt !== undefined) this.#lastAnswerAt = at;
      return;
    }
    this.#failures += 1;
    if (this.#state !== "live" || this.#failures < this.#limits.suspectAfterFailures) return;
    this.#state = "suspect";
    this.#goods = 0;
    this.#failures = 0;
  }

  /** Time passed. */
  elapsed(at: number): void {
    if (this.downAt !== undefined && at >= this.downAt) {
      this.#state = "down";
      this.#goods = 0;
    }
  }

  /** This process itself stood still for `ms`: silence meanwhile says nothing about the site. */
  excuse(ms: number): void {
    if (this.#lastAnswerAt !== undefined) this.#lastAnswerAt += ms;
  }
}
