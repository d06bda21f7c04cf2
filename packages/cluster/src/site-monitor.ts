import type { Clock, Logger, Timers } from "@meridian/runtime";
import type { Peers, SiteHealth, SiteMonitor } from "./peers.ts";
import { SiteProber } from "./site-prober.ts";
import { DEFAULT_SITE_STATE_LIMITS, SiteState, type SiteStateLimits } from "./site-state.ts";

export interface SiteMonitorOptions {
  readonly peers: Peers;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
  /** Milliseconds between probes of a site about which there is doubt. Default 500. */
  readonly intervalMs?: number;
  /** Milliseconds between probes of a site that answers. Default 1 000. */
  readonly calmIntervalMs?: number;
  /** Milliseconds that a probe may take. Default 1 000. */
  readonly deadlineMs?: number;
  /** Milliseconds after which a probe also asks the site's next gateway. Default 400. */
  readonly hedgeMs?: number;
  readonly limits?: Partial<SiteStateLimits>;
}

/**
 * Sends heartbeats to a gateway of every other site, measures the round trip on the monotonic clock and keeps the state
 * of each site (see {@link SiteState}). While an answer is awaited for longer than `intervalMs`, or anything else casts
 * doubt, probes follow each other faster and overlap, so that one lost in a black hole delays none after it: a dead site
 * is suspect within `calmIntervalMs + intervalMs + deadlineMs` and down 3 s after its last answer. One whose connection
 * breaks is asked again at once.
 */
export function createSiteMonitor(options: SiteMonitorOptions): SiteMonitor {
  return new ProbingSiteMonitor(options);
}

const STATE_RANK = { live: 0, suspect: 1, unknown: 2, down: 3 } as const;

/** A connection that breaks this soon after a probe waits for the next tick, in milliseconds. */
const MIN_PAUSE_MS = 100;

/** A site that is watched. */
interface Watched {
  readonly state: SiteState;
  readonly prober: SiteProber;
  probedAt: number;
  silence?: Disposable;
}

class ProbingSiteMonitor implements SiteMonitor {
  readonly #peers: Peers;
  readonly #clock: Clock;
  readonly #timers: Timers;
  readonly #log: Logger;
  readonly #intervalMs: number;
  readonly #calmIntervalMs: number;
  readonly #sites = new Map<string, Watched>();
  readonly #watch: (site: string) => Watched;
  /** The list that {@link #sites} was made from. */
  #members: readonly string[] = [];
  readonly #listeners = new Set<(health: SiteHealth) => void>();
  readonly #ticking: Disposable;
  readonly #underWay = new Set<Promise<void>>();
  #closed = false;
  #lastTickAt: number;

  constructor(options: SiteMonitorOptions) {
    const { peers, clock, timers, log, intervalMs = 500, calmIntervalMs = 1_000 } = options;
    const { deadlineMs = 1_000, hedgeMs = 400, limits } = options;
    this.#peers = peers;
    this.#clock = clock;
    this.#timers = timers;
    this.#log = log;
    this.#intervalMs = intervalMs;
    this.#calmIntervalMs = calmIntervalMs;
    this.#lastTickAt = clock.monotonic();
    this.#watch = (site) => {
      const state = new SiteState(site, { ...DEFAULT_SITE_STATE_LIMITS, ...limits });
      const onLost = (): void => this.#lost(site);
      const prober = new SiteProber({ site, peers, clock, timers, deadlineMs, hedgeMs, onLost });
      return { state, prober, probedAt: this.#lastTickAt };
    };
    this.#takeMembers();
    this.#ticking = timers.every(intervalMs, () => this.#tick());
  }

  health(site: string): SiteHealth {
    const watched = this.#sites.get(site);
    if (watched !== undefined) return watched.state.health;
    if (site === this.#peers.topology.site) return { site, state: "live", rttMs: 0, failing: [] };
    return { site, state: "unknown", failing: [] };
  }

  live(): readonly string[] {
    return this.ordered().filter((site) => this.health(site).state === "live");
  }

  ordered(): readonly string[] {
    return [...this.#sites.values()]
      .map(({ state }) => state.health)
      .sort((a, b) => STATE_RANK[a.state] - STATE_RANK[b.state] || (a.rttMs ?? 1e9) - (b.rttMs ?? 1e9))
      .map(({ site }) => site);
  }

  report(site: string, outcome: "ok" | "failed"): void {
    this.#update(site, (state, now) => state.reported(now, outcome));
  }

  subscribe(listener: (health: SiteHealth) => void): Disposable {
    // Its own wrapper, so that one function subscribed twice is two subscriptions.
    const entry = (health: SiteHealth): void => listener(health);
    this.#listeners.add(entry);
    return { [Symbol.dispose]: () => void this.#listeners.delete(entry) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    this.#ticking[Symbol.dispose]();
    this.#listeners.clear();
    for (const { prober, silence } of this.#sites.values()) {
      prober[Symbol.dispose]();
      silence?.[Symbol.dispose]();
    }
    await Promise.all(this.#underWay);
  }

  /** Members come and go while the process runs. */
  #takeMembers(): void {
    const { site: own, sites } = this.#peers.topology;
    if (sites === this.#members) return;
    this.#members = sites;
    const others = sites.filter((site) => site !== own);
    for (const [site, { prober, silence }] of this.#sites) {
      if (others.includes(site)) continue;
      prober[Symbol.dispose]();
      silence?.[Symbol.dispose]();
      this.#sites.delete(site);
      // Whoever keeps what it was told of a site looks again.
      for (const listener of [...this.#listeners]) listener(this.health(site));
    }
    for (const site of others.filter((other) => !this.#sites.has(other))) {
      this.#sites.set(site, this.#watch(site));
      this.#start(site);
    }
  }

  #tick(): void {
    this.#takeMembers();
    const now = this.#clock.monotonic();
    const stoodStillMs = now - this.#lastTickAt - 2 * this.#intervalMs;
    this.#lastTickAt = now;
    for (const [site, watched] of this.#sites) {
      this.#update(site, (state) => (stoodStillMs > 0 ? state.excuse(stoodStillMs) : state.elapsed(now)));
      this.#watchSilence(site, watched, now);
      if (this.#isDue(watched, now)) this.#start(site);
    }
  }

  /** Half a tick of tolerance: a tick that comes a moment early must not double the wait. */
  #isDue({ state, prober, probedAt }: Watched, now: number): boolean {
    const quiet = state.calm && !prober.waiting;
    return !quiet || now - probedAt >= this.#calmIntervalMs - this.#intervalMs / 2;
  }

  /** Notices silence at its very end, when that comes before the next tick. */
  #watchSilence(site: string, watched: Watched, now: number): void {
    const leftMs = (watched.state.downAt ?? Infinity) - now;
    if (leftMs > this.#intervalMs) return;
    watched.silence?.[Symbol.dispose]();
    const expire = (): void => {
      const lateMs = this.#clock.monotonic() - this.#lastTickAt;
      if (lateMs <= 2 * this.#intervalMs) this.#update(site, (silent, at) => silent.elapsed(at));
    };
    watched.silence = this.#timers.after(leftMs, expire);
  }

  /** The connection to a site broke between two probes. Asks at once, unless it was asked a moment ago. */
  #lost(site: string): void {
    const watched = this.#sites.get(site);
    if (watched === undefined || this.#closed || !watched.state.calm) return;
    if (this.#clock.monotonic() - watched.probedAt >= MIN_PAUSE_MS) this.#start(site);
  }

  #start(site: string): void {
    const probe = this.#probe(site).finally(() => this.#underWay.delete(probe));
    this.#underWay.add(probe);
  }

  /** Never rejects. */
  async #probe(site: string): Promise<void> {
    const watched = this.#sites.get(site);
    if (watched === undefined) return;
    watched.probedAt = this.#clock.monotonic();
    try {
      const { rttMs, failing } = await watched.prober.probe();
      this.#update(site, (state, now) => state.answered(now, rttMs, failing));
    } catch (error) {
      if (this.#closed) return;
      this.#log.debug("probe of a site failed", { site, error });
      this.#update(site, (state, now) => state.missed(now));
    }
  }

  /** Changes what is known of a site, and tells listeners and the log when that changed its state. */
  #update(site: string, change: (state: SiteState, now: number) => void): void {
    const state = this.#sites.get(site)?.state;
    if (state === undefined || this.#closed) return;
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
