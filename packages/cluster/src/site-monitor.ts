import { ContentError } from "@meridian/oci";
import type { Clock, Logger, Timers } from "@meridian/runtime";
import { siteV1 } from "@meridian/wire";
import { hedged } from "./hedge.ts";
import type { Peers, SiteHealth, SiteMonitor } from "./peers.ts";
import { DEFAULT_SITE_STATE_LIMITS, SiteState, type SiteStateLimits } from "./site-state.ts";
import { nodeName, type ProcessAddress, Role } from "./topology.ts";

export interface SiteMonitorOptions {
  readonly peers: Peers;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
  /** Milliseconds between probes of a site. Default 500. */
  readonly intervalMs?: number;
  /** Milliseconds that a probe may take. Default 1 000. */
  readonly deadlineMs?: number;
  /** Milliseconds after which a probe also asks the site's next gateway. Default 400. */
  readonly hedgeMs?: number;
  readonly limits?: Partial<SiteStateLimits>;
}

/**
 * Pings a gateway of every other site at a steady rate, measures the round trip on the monotonic clock and keeps the
 * state of each site (see {@link SiteState}). Probes overlap, so that one lost in a black hole delays none after it:
 * a dead site is suspect after at most `2 × intervalMs + deadlineMs` and down 3 s after its last answer.
 */
export function createSiteMonitor(options: SiteMonitorOptions): SiteMonitor {
  return new ProbingSiteMonitor(options);
}

const STATE_RANK = { live: 0, suspect: 1, unknown: 2, down: 3 } as const;

class ProbingSiteMonitor implements SiteMonitor {
  readonly #peers: Peers;
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #log: Logger;
  readonly #intervalMs: number;
  readonly #deadlineMs: number;
  readonly #hedgeMs: number;
  readonly #sites = new Map<string, SiteState>();
  readonly #preferred = new Map<string, string>();
  readonly #listeners = new Set<(health: SiteHealth) => void>();
  readonly #stop = new AbortController();
  readonly #ticking: Disposable;
  readonly #underWay = new Set<Promise<void>>();
  readonly #silence = new Map<string, Disposable>();
  #lastTickAt: number;

  constructor({
    peers,
    clock,
    timers,
    log,
    intervalMs = 500,
    deadlineMs = 1_000,
    hedgeMs = 400,
    limits,
  }: SiteMonitorOptions) {
    this.#peers = peers;
    this.#clock = clock;
    this.#timers = timers;
    this.#log = log;
    this.#intervalMs = intervalMs;
    this.#deadlineMs = deadlineMs;
    this.#hedgeMs = hedgeMs;
    const { site: own, sites } = peers.topology;
    for (const site of sites) {
      if (site !== own) this.#sites.set(site, new SiteState(site, { ...DEFAULT_SITE_STATE_LIMITS, ...limits }));
    }
    this.#lastTickAt = clock.monotonic();
    this.#probeAll();
    this.#ticking = timers.every(intervalMs, () => this.#tick());
  }

  health(site: string): SiteHealth {
    const state = this.#sites.get(site);
    if (state !== undefined) return state.health;
    if (site === this.#peers.topology.site) return { site, state: "live", rttMs: 0, failing: [] };
    return { site, state: "unknown", failing: [] };
  }

  live(): readonly string[] {
    return this.ordered().filter((site) => this.health(site).state === "live");
  }

  ordered(): readonly string[] {
    return [...this.#sites.values()]
      .map((state) => state.health)
      .sort((a, b) => STATE_RANK[a.state] - STATE_RANK[b.state] || (a.rttMs ?? 1e9) - (b.rttMs ?? 1e9))
      .map(({ site }) => site);
  }

  report(site: string, outcome: "ok" | "failed" | "slow"): void {
    this.#update(site, (state, now) => state.reported(now, outcome));
  }

  subscribe(listener: (health: SiteHealth) => void): Disposable {
    // Its own wrapper, so that one function subscribed twice is two subscriptions.
    const entry = (health: SiteHealth): void => listener(health);
    this.#listeners.add(entry);
    return { [Symbol.dispose]: () => void this.#listeners.delete(entry) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ticking[Symbol.dispose]();
    this.#stop.abort(new ContentError("unavailable", "the site monitor was closed"));
    this.#listeners.clear();
    for (const timer of this.#silence.values()) timer[Symbol.dispose]();
    await Promise.all(this.#underWay);
  }

  #tick(): void {
    const now = this.#clock.monotonic();
    const stoodStillMs = now - this.#lastTickAt - 2 * this.#intervalMs;
    this.#lastTickAt = now;
    for (const [site, state] of this.#sites) {
      this.#update(site, () => (stoodStillMs > 0 ? state.excuse(stoodStillMs) : state.elapsed(now)));
      this.#watchSilence(site, state, now);
    }
    this.#probeAll();
  }

  /** Notices silence at its very end, when that comes before the next tick. */
  #watchSilence(site: string, state: SiteState, now: number): void {
    const leftMs = (state.downAt ?? Infinity) - now;
    if (leftMs > this.#intervalMs) return;
    this.#silence.get(site)?.[Symbol.dispose]();
    const expire = (): void => {
      const lateMs = this.#clock.monotonic() - this.#lastTickAt;
      if (lateMs <= 2 * this.#intervalMs) this.#update(site, (silent, at) => silent.elapsed(at));
    };
    this.#silence.set(site, this.#timers.after(leftMs, expire));
  }

  #probeAll(): void {
    for (const site of this.#sites.keys()) {
      const probe = this.#probe(site).finally(() => this.#underWay.delete(probe));
      this.#underWay.add(probe);
    }
  }

  /** Asks the gateway that answered last, then, at its failure or after `hedgeMs`, the next ones. Never rejects. */
  async #probe(site: string): Promise<void> {
    const probe = new AbortController();
    const signal = AbortSignal.any([probe.signal, this.#stop.signal]);
    const late = (): void => probe.abort(new ContentError("unavailable", `no answer within ${this.#deadlineMs} ms`));
    using _deadline = this.#timers.after(this.#deadlineMs, late);
    try {
      const attempts = this.#gateways(site).map((address) => () => this.#ask(address, signal));
      if (attempts.length === 0) throw new ContentError("unavailable", "the topology lists no gateway of the site");
      const answer = await hedged(attempts, { afterMs: this.#hedgeMs, timers: this.#timers, signal });
      this.#preferred.set(site, answer.process);
      this.#update(site, (state, now) => state.answered(now, answer.rttMs, answer.failing));
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      this.#log.debug("probe of a site failed", { site, error });
      this.#update(site, (state, now) => state.missed(now));
    } finally {
      probe.abort(new ContentError("unavailable", "the probe is over"));
    }
  }

  #gateways(site: string): ProcessAddress[] {
    const preferred = this.#preferred.get(site);
    const gateways = this.#peers.processes(Role.gateway, site);
    return [...gateways].sort((a, b) => Number(b.process === preferred) - Number(a.process === preferred));
  }

  async #ask(address: ProcessAddress, signal: AbortSignal): Promise<Answer> {
    const startedAt = this.#clock.monotonic();
    const from = this.#peers.topology.site;
    const client = this.#peers.client(siteV1.SiteService, address);
    const { site, failing } = await client.ping({ fromSite: from }, { signal, timeoutMs: this.#deadlineMs });
    if (site !== address.site) throw new ContentError("denied", `${nodeName(address)} answered as site "${site}"`);
    return { process: address.process, rttMs: this.#clock.monotonic() - startedAt, failing };
  }

  /** Changes what is known of a site, and tells listeners and the log when that changed its state. */
  #update(site: string, change: (state: SiteState, now: number) => void): void {
    const state = this.#sites.get(site);
    if (state === undefined || this.#stop.signal.aborted) return;
    const before = state.health.state;
    change(state, this.#clock.monotonic());
    const after = state.health;
    if (after.state === before) return;
    const fields = { site, from: before, to: after.state, rttMs: after.rttMs };
    if (after.state === "live") this.#log.info("site is live", fields);
    else this.#log.warn(`site is ${after.state}`, fields);
    for (const listener of [...this.#listeners]) listener(after);
  }
}

/** What a probe brought back. */
interface Answer {
  readonly process: string;
  readonly rttMs: number;
  readonly failing: readonly string[];
}
