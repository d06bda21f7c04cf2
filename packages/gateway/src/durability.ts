import type { SiteMonitor, Topology } from "@meridian/cluster";
import type { Digest } from "@meridian/oci";
import { type PlacementSettings, placementAt } from "@meridian/policy";
import type { Clock, Timers } from "@meridian/runtime";
import type { PullInterest } from "./pull-interest.ts";
import type { Receipts } from "./receipts.ts";
import { Refusal, unavailable } from "./refusal.ts";
import type { SiteMembers } from "./site-members.ts";

/** Holds the answer to a push back until so many sites have the image (`durability: sites:n`). */
export interface Durability {
  /**
   * How many sites are wanted; 1 where this one is enough.
   * @throws Refusal 503 when so many cannot be had now: nothing was accepted.
   */
  require(repository: string): number;
  /**
   * Resolves once `sites` sites hold the records and all bytes that the manifest references, verified.
   * @throws Refusal 504 when that takes too long: the push stands here, and goes on to the others.
   */
  wait(repository: string, manifest: Digest, sites: number): Promise<readonly string[]>;
}

/** What {@link createDurability} needs. */
export interface DurabilityOptions {
  readonly topology: Topology;
  readonly monitor: Pick<SiteMonitor, "health">;
  readonly members: Pick<SiteMembers, "isDraining">;
  readonly settings: Pick<PlacementSettings, "of">;
  readonly receipts: Receipts;
  readonly interest: PullInterest;
  /** How long a push is held back, milliseconds. */
  readonly durabilityWaitMs: number;
  readonly clock: Clock;
  readonly timers: Timers;
}

const POLL_MS = 50;

export function createDurability(options: DurabilityOptions): Durability {
  const { topology, monitor, members, settings, receipts, interest, durabilityWaitMs, clock, timers } = options;

  /** Sites that get all bytes by themselves, or would when they are reached. */
  const eager = (repository: string): string[] => {
    const inForce = settings.of(repository);
    return topology.sites.filter((site) => placementAt(inForce, site) === "eager" && !members.isDraining(site));
  };

  const complete = async (repository: string, digest: Digest): Promise<string[]> => {
    const { signal } = new AbortController();
    const sites = await receipts.ask({ repository, digest, tag: "" }, signal);
    // What leaves with a site that drains is at no site soon.
    return sites.filter(({ name, state }) => state === "complete" && !members.isDraining(name)).map(({ name }) => name);
  };

  return {
    require(repository) {
      const wanted = settings.of(repository).durability?.value.sites ?? 1;
      if (wanted <= 1) return 1;
      const reachable = eager(repository).filter(
        (site) => site === topology.site || monitor.health(site).state !== "down",
      );
      if (reachable.length >= wanted) return wanted;
      throw unavailable(
        `repository ${repository} wants its pushes at ${wanted} sites before they are answered, and only ${reachable.length} can be reached: nothing was accepted`,
        { detail: { wanted, reachable } },
      );
    },
    async wait(repository, digest, sites) {
      const others = eager(repository).filter((site) => site !== topology.site);
      void Promise.all(others.map((site) => interest.awaited(site, repository, digest)));
      const deadline = clock.monotonic() + durabilityWaitMs;
      for (;;) {
        const held = await complete(repository, digest);
        if (held.length >= sites) return held;
        if (clock.monotonic() + POLL_MS > deadline) throw pending(repository, digest, sites, held);
        await timers.sleep(POLL_MS);
      }
    },
  };
}

function pending(repository: string, digest: Digest, wanted: number, complete: readonly string[]): Refusal {
  const message = `accepted here, but only ${complete.length} of the ${wanted} sites that repository ${repository} wants hold it yet: it goes on to them; push again to wait again, or ask for its receipt`;
  return new Refusal("UNAVAILABLE", message, { status: 504, detail: { digest, wanted, complete } });
}
