import { type Catalog, formatVersion, parseVersion } from "@meridian/catalog";
import type { SiteMonitor, Topology } from "@meridian/cluster";
import type { Decider, RepositorySettingsTable } from "@meridian/policy";
import type { ServiceImpl } from "@meridian/rpc";
import type { Clock, Timers } from "@meridian/runtime";
import type { siteV1 } from "@meridian/wire";
import type { Exchange } from "./exchange.ts";
import { type Refusal, unavailable } from "./refusal.ts";
import { isPassedOn, type SiteProxy } from "./site-proxy.ts";
import { waitUntil } from "./transient.ts";

/** Who decides about writes of tags: this site, or the repository's home (consistency.md §3, `tags: home`). */
export interface TagHome {
  /**
   * Passes a request that writes tags on to their home, and resolves true once it is answered; false when this site
   * decides. `body` is the request's, where it was read already.
   * @throws Refusal 503 when the home cannot be reached, or moves, for longer than such states are waited out.
   */
  passedOn(exchange: Exchange, repository: string, body?: Buffer): Promise<boolean>;
  /** True when another site decides, as far as this one knows. */
  isElsewhere(repository: string): boolean;
  /** Runs a write that this site decides. @throws Refusal 503 when it does not any more: nothing was written. */
  decide<T>(repository: string, write: () => Promise<T>): Promise<T>;
  /** What other sites' gateways ask when a home moves. */
  readonly service: ServiceImpl<typeof siteV1.TagHomeService>;
}

/** What {@link createTagHome} needs. */
export interface TagHomeOptions {
  readonly topology: Topology;
  readonly settings: Pick<RepositorySettingsTable, "of">;
  readonly decider: Pick<Decider, "revision">;
  readonly catalog: Pick<Catalog, "reached" | "version">;
  readonly monitor: Pick<SiteMonitor, "health">;
  readonly proxy: SiteProxy;
  readonly transientWaitMs: number;
  readonly clock: Clock;
  readonly timers: Timers;
}

/** A site whose gateway answered at the home waits so long to show the write itself. */
const OWN_FOLD_MS = 2_000;
const HAND_OVER_WAIT_MS = 5_000;

export function createTagHome(options: TagHomeOptions): TagHome {
  return new SettingsTagHome(options);
}

class SettingsTagHome implements TagHome {
  readonly service: TagHome["service"];
  readonly #options: TagHomeOptions;
  /** Writes of tags that run, so that a home can say when its last one is done. */
  readonly #running = new Set<Promise<unknown>>();
  /** Version tokens that were reached: those of former homes. */
  readonly #reached = new Set<string>();

  constructor(options: TagHomeOptions) {
    this.#options = options;
    this.service = { handOver: (request, context) => this.#handOver(request, context.signal) };
  }

  isElsewhere(repository: string): boolean {
    const tags = this.#tags(repository);
    return tags !== undefined && tags.home !== "" && (tags.pending || tags.home !== this.#options.topology.site);
  }

  async passedOn(exchange: Exchange, repository: string, body?: Buffer): Promise<boolean> {
    if (!this.isElsewhere(repository)) return false;
    const patience = { ...this.#options, waitMs: this.#options.transientWaitMs, signal: exchange.signal };
    if (!(await waitUntil(() => !this.#isMoving(repository), patience))) throw this.#moving(repository);
    if (!this.isElsewhere(repository)) return false;
    const home = this.#tags(repository)!.home;
    // The one who passed it on knows another policy: two sites that disagree must not send a request in circles.
    if (isPassedOn(exchange)) throw this.#moving(repository);
    const { monitor, proxy } = this.#options;
    if (!(await waitUntil(() => monitor.health(home).state !== "down", patience))) throw away(repository, home);
    await proxy.pass(exchange, home, `the home of the tags of ${repository}`, {
      ...(body === undefined ? {} : { body }),
      answered: (headers) => this.#shown(headers["meridian-version"], exchange.signal),
    });
    return true;
  }

  async decide<T>(repository: string, write: () => Promise<T>): Promise<T> {
    await this.#followFormerHome(repository);
    if (this.isElsewhere(repository)) throw this.#moving(repository);
    const running = write();
    this.#running.add(running);
    try {
      return await running;
    } finally {
      this.#running.delete(running);
    }
  }

  #tags(repository: string) {
    return this.#options.settings.of(repository).tags?.value;
  }

  #isMoving(repository: string): boolean {
    return this.#tags(repository)?.pending === true;
  }

  /** Before the first decision the new home has to know all of the former ones'. */
  async #followFormerHome(repository: string): Promise<void> {
    for (const version of this.#tags(repository)?.after ?? []) {
      if (this.#reached.has(version)) continue;
      const { catalog, timers, transientWaitMs } = this.#options;
      const late = new AbortController();
      using _deadline = timers.after(transientWaitMs, () => late.abort());
      await catalog.reached(version, late.signal).catch((cause: unknown) => {
        throw unavailable(`this site does not know yet what the former home of ${repository} decided`, { cause });
      });
      this.#reached.add(version);
    }
  }

  /** Read your writes, also where the home is elsewhere; the answer does not depend on it. */
  async #shown(version: string | string[] | undefined, signal: AbortSignal): Promise<void> {
    if (typeof version !== "string") return;
    const late = new AbortController();
    using _deadline = this.#options.timers.after(OWN_FOLD_MS, () => late.abort());
    await this.#options.catalog.reached(version, AbortSignal.any([signal, late.signal])).catch(() => undefined);
  }

  async #handOver({ revision }: siteV1.HandOverRequest, signal: AbortSignal): Promise<{ version: string }> {
    const { decider, catalog, topology } = this.#options;
    const isKnown = (): boolean => revision === "" || sequenceOf(decider.revision) >= sequenceOf(revision);
    if (!(await waitUntil(isKnown, { ...this.#options, waitMs: HAND_OVER_WAIT_MS, signal })))
      throw unavailable(`site ${topology.site} does not know of policy ${revision} yet`);
    if (revision !== "") await Promise.allSettled(this.#running);
    // What a writer of this site decided is in its own log: other sites' positions are not its to promise.
    const own = parseVersion(catalog.version()).get(topology.site);
    return { version: own === undefined ? "" : formatVersion(new Map([[topology.site, own]])) };
  }

  #moving(repository: string): Refusal {
    const home = this.#tags(repository)?.home;
    return unavailable(`the home of the tags of ${repository} moves to ${home}: nothing was changed, try again`);
  }
}

function away(repository: string, home: string): Refusal {
  return unavailable(`the home of the tags of ${repository}, site ${home}, cannot be reached: nothing was changed`, {
    detail: { home },
  });
}

/** The entry's number in a policy revision, `<epoch>.<number>`. */
function sequenceOf(revision: string): number {
  return Number(revision.slice(revision.indexOf(".") + 1));
}
