import { type Peers, Role } from "@meridian/cluster";
import type { Digest } from "@meridian/oci";
import type { Clock, Logger } from "@meridian/runtime";
import { replicationV1 } from "@meridian/wire";

/** Tells replicators which images somebody waits for, so that these move first, and their referrers with them. */
export interface PullInterest {
  /** Somebody pulls the image here. Said once a minute; never waits, never throws. */
  pulled(repository: string, manifest: Digest): void;
  /** A push waits until a site holds the image. Never throws. */
  awaited(site: string, repository: string, manifest: Digest): Promise<void>;
}

const AGAIN_MS = 60_000;
const MAX_REMEMBERED = 10_000;
const TIMEOUT_MS = 3_000;

export function createPullInterest({
  peers,
  clock,
  log,
}: {
  readonly peers: Peers;
  readonly clock: Clock;
  readonly log: Logger;
}): PullInterest {
  const toldAt = new Map<string, number>();
  const tell = async (site: string, repository: string, digest: Digest): Promise<void> => {
    const [replicator] = peers.processes(Role.replicator, site);
    if (replicator === undefined) return;
    try {
      const client = peers.client(replicationV1.ReplicationService, replicator);
      await client.prefer({ repository, digest }, { timeoutMs: TIMEOUT_MS });
    } catch (error) {
      log.debug("a replicator could not be told what somebody waits for", { site, error });
    }
  };
  return {
    pulled(repository, digest) {
      const key = `${repository} ${digest}`;
      const now = clock.monotonic();
      if (now - (toldAt.get(key) ?? Number.NEGATIVE_INFINITY) < AGAIN_MS) return;
      if (toldAt.size >= MAX_REMEMBERED) toldAt.clear();
      toldAt.set(key, now);
      void tell(peers.topology.site, repository, digest);
    },
    awaited: tell,
  };
}
