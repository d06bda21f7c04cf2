import type { CatalogReader } from "@meridian/catalog";
import type { Topology } from "@meridian/cluster";
import { ContentError, parseDigest, tryParseRepository } from "@meridian/oci";
import type { ServiceImpl } from "@meridian/rpc";
import type { Clock, HealthReport } from "@meridian/runtime";
import type { siteV1 } from "@meridian/wire";
import type { ImageStates } from "./image-state.ts";

/** More digests in one question are refused. */
const MAX_DIGESTS = 1_000;

/** What this site answers to the others: whether it is well, what it knows of a digest, how much of an image it holds. */
export function createSiteService(options: {
  readonly topology: Topology;
  readonly catalog: CatalogReader;
  readonly images: ImageStates;
  readonly health: () => Promise<HealthReport>;
  readonly clock: Clock;
}): ServiceImpl<typeof siteV1.SiteService> {
  const { topology, catalog, images, health, clock } = options;
  return {
    async ping() {
      const { checks } = await health();
      return {
        site: topology.site,
        failing: checks.filter(({ ok }) => !ok).map(({ name }) => name),
        nowMs: BigInt(Math.round(clock.now())),
      };
    },
    async lookup({ repository, digests }) {
      requireRepository(repository);
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

function requireRepository(name: string): void {
  if (tryParseRepository(name) === undefined) throw new ContentError("invalid", "not a repository name");
}
