import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Topology } from "@meridian/cluster";
import { type Digest, parseDigest } from "@meridian/oci";
import { isRestricted, type PlacementSettings } from "@meridian/policy";
import type { ServiceImpl } from "@meridian/rpc";
import type { replicationV1 } from "@meridian/wire";
import type { ReplicationProgress } from "./replication-progress.ts";
import type { Residency } from "./residency.ts";

/** What this site's replicator answers to its own processes and, but for MayHold, to other sites'. */
export function createReplicationService(options: {
  readonly progress: ReplicationProgress;
  readonly residency: Residency;
  readonly settings: PlacementSettings;
  readonly topology: Pick<Topology, "sites">;
  /** What would be lost with this site. */
  readonly drain: () => Promise<MessageInitShape<typeof replicationV1.DrainResponseSchema>>;
  /** Told of an image that somebody pulls, or waits for. */
  readonly prefer: (repository: string, manifest: Digest) => void;
}): ServiceImpl<typeof replicationV1.ReplicationService> {
  const { progress, residency, settings, topology, drain, prefer } = options;
  return {
    async prefer({ repository, digest }) {
      prefer(repository, parseDigest(digest));
      return {};
    },
    progress: async ({ repository }) => progress.report(repository),
    mayHold: async ({ site, digest }) => ({
      allowed: residency.mayHold(site, parseDigest(digest)),
      restricted: isRestricted(settings, site) || !topology.sites.includes(site),
    }),
    drain: () => drain(),
  };
}
