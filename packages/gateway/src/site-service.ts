import type { CatalogReader } from "@meridian/catalog";
import type { Topology } from "@meridian/cluster";
import { ContentError, parseDigest, tryParseRepository } from "@meridian/oci";
import { type PlacementSettings, placementAt } from "@meridian/policy";
import type { ServiceImpl } from "@meridian/rpc";
import type { Clock, HealthReport } from "@meridian/runtime";
import type { siteV1 } from "@meridian/wire";
import type { ImageStates } from "./image-state.ts";

/** More digests in one question are refused. */
const MAX_DIGESTS = 1_000;

/**
 * Heartbeats have the checks made this often at most, in milliseconds. The checks touch the disk and may take seconds
 * when something is wrong, so no heartbeat waits for them: it measures the way, and a site that answers is alive.
 */
const CHECK_EVERY_MS = 2_000;

/** What this site answers to the others: whether it is well, what it knows of a digest, how much of an image it holds. */
export function createSiteService(options: {
  readonly topology: Topology;
  readonly catalog: CatalogReader;
  readonly images: ImageStates;
  /** What the policy sets for repositories: nothing is told to a site that a repository is kept from. */
  readonly settings: Pick<PlacementSettings, "of">;
  readonly health: () => Promise<HealthReport>;
  readonly clock: Clock;
}): ServiceImpl<typeof siteV1.SiteService> {
  const { topology, catalog, images, settings, health, clock } = options;
  const { site } = topology;
  const nowMs = (): bigint => BigInt(Math.round(clock.now()));
  const failing = checkedBeside(health, clock);
  return {
    async ping() {
      return { site, failing: failingOf(await health()), nowMs: nowMs() };
    },
    async *heartbeat(requests) {
      for await (const { number } of requests) yield { number, site, failing: failing(), nowMs: nowMs() };
    },
    async lookup({ repository, digests }, { peer }) {
      requireRepository(repository);
      if (peer !== undefined && placementAt(settings.of(repository), peer.site) === "never")
        throw new ContentError("denied", `the repository is kept from site ${peer.site}`);
      if (digests.length > MAX_DIGESTS) throw new ContentError("invalid", `more than ${MAX_DIGESTS} digests`);
      return { records: digests.flatMap((digest) => catalog.recordsFor(repository, parseDigest(digest))) };
    },
    async replication({ repository, digest, tag }) {
      requireRepository(repository);
      const { state, blobsPresent, blobsTotal, bytes, bytesTotal, etaMs } = await images.look(
        repository,
        parseDigest(digest),
        tag,
      );
      return {
        site: topology.site,
        state,
        blobsPresent,
        blobsTotal,
        bytes: BigInt(bytes),
        bytesTotal: BigInt(bytesTotal),
        etaMs: etaMs === undefined ? undefined : BigInt(etaMs),
      };
    },
  };
}

function failingOf({ checks }: HealthReport): string[] {
  return checks.filter(({ ok }) => !ok).map(({ name }) => name);
}

/** What failed when the checks were last made; asking makes them again in the background, when that is due. */
function checkedBeside(health: () => Promise<HealthReport>, clock: Clock): () => string[] {
  let failing: string[] = [];
  let askedAt = Number.NEGATIVE_INFINITY;
  return () => {
    if (clock.monotonic() - askedAt >= CHECK_EVERY_MS) {
      askedAt = clock.monotonic();
      void health().then((report) => {
        failing = failingOf(report);
      });
    }
    return failing;
  };
}

function requireRepository(name: string): void {
  if (tryParseRepository(name) === undefined) throw new ContentError("invalid", "not a repository name");
}
