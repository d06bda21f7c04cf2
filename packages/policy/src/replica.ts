import type { Clock, Logger, Random, Timers } from "@meridian/runtime";
import { Changes } from "./changes.ts";
import { memberKey } from "./entry-key.ts";
import { Freshness } from "./freshness.ts";
import type { LogMirror } from "./log-mirror.ts";
import { type Exclusion, membershipOf } from "./membership.ts";
import type { PolicyStore } from "./policy-store.ts";
import { formatRevision } from "./position.ts";
import { PolicyState } from "./state.ts";
import type { PolicyTiming } from "./timing.ts";

/** What the home, a member and a reader need from their process. */
export interface PolicyRuntime {
  readonly site: string;
  /** The members before the log names them; the first is the home. */
  readonly sites: readonly string[];
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly log: Logger;
  readonly timing: PolicyTiming;
}

/** The effective policy of one process: the fold, when it changes, and how fresh it is. */
export class EffectivePolicy {
  readonly state = new PolicyState();
  readonly changes = new Changes();
  readonly freshness: Freshness;
  #exclusion: Exclusion | undefined;

  constructor(clock: Clock) {
    this.freshness = new Freshness(clock);
  }

  /** Folds what is committed and held, and tells listeners when that was anything. A log that lags behind changes nothing. */
  advance(mirror: LogMirror): void {
    const before = this.state.seq;
    const commit = mirror.commit?.seq ?? 0;
    while (this.state.seq < commit) {
      const entry = mirror.at(this.state.seq + 1);
      if (!entry) break;
      this.state.apply(entry);
    }
    const excluded = this.#exclusion?.revision !== mirror.exclusion?.revision;
    this.#exclusion = mirror.exclusion;
    if (this.state.seq !== before || excluded) this.changes.emit();
  }

  /** How this site ceased to be a member, by its own log or by what the home said; undefined while it is one, or never was. */
  exclusionOf(site: string): Exclusion | undefined {
    if (this.#exclusion !== undefined) return this.#exclusion;
    const member = this.state.sites.get(site);
    const membership = member && membershipOf(member);
    if (membership !== "removed" && membership !== "expelled") return undefined;
    const epoch = this.state.position?.epoch ?? { number: 0, site: "" };
    return { state: membership, revision: formatRevision({ epoch, seq: this.state.revisionOf(memberKey(site)) }) };
  }
}

/** Runs one writing step after another; a failed one reloads the store before the next. */
export class StoreWriter {
  readonly #store: PolicyStore;
  readonly #signal: AbortSignal;
  #last: Promise<unknown> = Promise.resolve();
  #mustReload = false;

  constructor(store: PolicyStore, signal: AbortSignal) {
    this.#store = store;
    this.#signal = signal;
  }

  /** Resolves or rejects as `step` does. */
  run<T>(step: () => Promise<T>): Promise<T> {
    const result = this.#last.then(() => this.#step(step));
    this.#last = result.catch(() => undefined);
    return result;
  }

  async #step<T>(step: () => Promise<T>): Promise<T> {
    this.#signal.throwIfAborted();
    if (this.#mustReload) await this.#store.reload(this.#signal);
    this.#mustReload = true;
    const result = await step();
    this.#mustReload = false;
    return result;
  }
}

/** The member sites: those of the configuration until the log has named them all, which its settings say. */
export function membersOf(state: PolicyState, configured: readonly string[]): readonly string[] {
  return state.settings ? [...state.members] : configured;
}
