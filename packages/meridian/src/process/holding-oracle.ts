import { type Peers, Role } from "@meridian/cluster";
import { ContentError, type Digest } from "@meridian/oci";
import type { Clock } from "@meridian/runtime";
import { replicationV1 } from "@meridian/wire";

/** Tells a blob node whether another site may have a blob's bytes. */
export interface HoldingOracle {
  /** @throws ContentError `unavailable` when nobody of this site can say, and something is kept from that site. */
  mayHold(site: string, digest: Digest): boolean | Promise<boolean>;
  /** This process knows it itself. */
  use(known: (site: string, digest: Digest) => boolean): void;
}

const TIMEOUT_MS = 2_000;
/** How long it is believed that nothing is kept from a site: within the time that a change may take to be enforced. */
const UNRESTRICTED_MS = 10_000;

/** Asks this site's replicators, where the process has none itself. */
export function createHoldingOracle({ peers, clock }: { readonly peers: Peers; readonly clock: Clock }): HoldingOracle {
  let own: ((site: string, digest: Digest) => boolean) | undefined;
  /** Site → when it was last said that nothing is kept from it, on the monotonic clock. */
  const unrestricted = new Map<string, number>();

  const ask = async (site: string, digest: Digest): Promise<boolean> => {
    let failure: unknown;
    for (const address of peers.processes(Role.replicator, peers.topology.site)) {
      try {
        const client = peers.client(replicationV1.ReplicationService, address);
        const { allowed, restricted } = await client.mayHold({ site, digest }, { timeoutMs: TIMEOUT_MS });
        if (restricted) unrestricted.delete(site);
        else unrestricted.set(site, clock.monotonic());
        return allowed;
      } catch (error) {
        failure = error;
      }
    }
    // A site goes on by the last policy that it knows.
    if (unrestricted.has(site)) return true;
    throw new ContentError("unavailable", `no replicator says what site ${site} may hold`, { cause: failure });
  };

  return {
    mayHold(site, digest) {
      if (own !== undefined) return own(site, digest);
      const saidAt = unrestricted.get(site);
      if (saidAt !== undefined && clock.monotonic() - saidAt < UNRESTRICTED_MS) return true;
      return ask(site, digest);
    },
    use(known) {
      own = known;
    },
  };
}
