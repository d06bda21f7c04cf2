import { ContentError } from "@meridian/oci";
import type { Clock, Timers } from "@meridian/runtime";
import { siteV1 } from "@meridian/wire";
import { type Heartbeat, Heartbeats } from "./heartbeats.ts";
import { hedged } from "./hedge.ts";
import type { Peers } from "./peers.ts";
import { nodeName, type ProcessAddress, Role } from "./topology.ts";

export interface SiteProberOptions {
  readonly site: string;
  readonly peers: Peers;
  readonly clock: Clock;
  readonly timers: Timers;
  /** Milliseconds that a probe may take. */
  readonly deadlineMs: number;
  /** Milliseconds after which a probe also asks the site's next gateway. */
  readonly hedgeMs: number;
  /** Called when the gateway that answered last breaks off its conversation, as it does when its process dies. */
  readonly onLost: () => void;
}

/** Asks another site whether it is there, over conversations that are kept with its gateways. */
export class SiteProber implements Disposable {
  readonly #options: SiteProberOptions;
  readonly #conversations = new Map<string, Heartbeats>();
  readonly #probes = new Set<AbortController>();
  #preferred: string | undefined;

  constructor(options: SiteProberOptions) {
    this.#options = options;
  }

  /** True while an answer is awaited. */
  get waiting(): boolean {
    return this.#probes.size > 0;
  }

  /** Asks the gateway that answered last, then, at its failure or after `hedgeMs`, the next ones. Rejects at the deadline. */
  async probe(): Promise<Heartbeat> {
    const { deadlineMs, hedgeMs, site, timers } = this.#options;
    const probe = new AbortController();
    const late = (): void => probe.abort(new ContentError("unavailable", `no answer within ${deadlineMs} ms`));
    using _deadline = timers.after(deadlineMs, late);
    this.#probes.add(probe);
    try {
      const attempts = this.#gateways().map((address) => () => this.#ask(address, probe.signal));
      if (attempts.length === 0) throw new ContentError("unavailable", `the topology lists no gateway of site ${site}`);
      return await hedged(attempts, { afterMs: hedgeMs, timers, signal: probe.signal });
    } finally {
      this.#probes.delete(probe);
      probe.abort(OVER);
    }
  }

  [Symbol.dispose](): void {
    this.#preferred = undefined;
    for (const probe of this.#probes) probe.abort(CLOSED);
    for (const conversation of this.#conversations.values()) conversation.end(CLOSED);
  }

  #gateways(): ProcessAddress[] {
    const gateways = this.#options.peers.processes(Role.gateway, this.#options.site);
    return [...gateways].sort((a, b) => Number(this.#isPreferred(b)) - Number(this.#isPreferred(a)));
  }

  #isPreferred(address: ProcessAddress): boolean {
    return nodeName(address) === this.#preferred;
  }

  async #ask(address: ProcessAddress, signal: AbortSignal): Promise<Heartbeat> {
    const answer = await this.#conversation(address).beat(signal);
    if (answer.site !== address.site) {
      throw new ContentError("denied", `${nodeName(address)} answered as site "${answer.site}"`);
    }
    this.#preferred = nodeName(address);
    return answer;
  }

  #conversation(address: ProcessAddress): Heartbeats {
    const { peers, clock } = this.#options;
    const name = nodeName(address);
    const known = this.#conversations.get(name);
    if (known !== undefined) return known;
    const conversation = new Heartbeats({
      client: peers.client(siteV1.SiteService, address),
      fromSite: peers.topology.site,
      clock,
      onEnd: () => this.#ended(name),
    });
    this.#conversations.set(name, conversation);
    return conversation;
  }

  #ended(name: string): void {
    this.#conversations.delete(name);
    if (name === this.#preferred && !this.waiting) this.#options.onLost();
  }
}

// Made once: an error that says why nobody listens any more is not worth a stack trace at every probe.
const OVER = new ContentError("unavailable", "the probe is over");
const CLOSED = new ContentError("unavailable", "the site monitor was closed");
