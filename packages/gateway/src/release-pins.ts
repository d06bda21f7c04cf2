import type { Catalog } from "@meridian/catalog";
import type { Peers, ProcessAddress, Topology } from "@meridian/cluster";
import type { Digest } from "@meridian/oci";
import type { Logger } from "@meridian/runtime";
import { collectionV1 } from "@meridian/wire";

/**
 * Ends what clients were told of a digest at every gateway of every site, for a client deletes it: else its link would be
 * written again, and a deletion at one site would not hold where another one was asked for the digest before. A gateway
 * that cannot be told within a second may do so. Never rejects.
 */
export type ReleasePins = (repository: string, digest: Digest) => Promise<void>;

const TIMEOUT_MS = 1_000;

export function createReleasePins(options: {
  readonly topology: Topology;
  readonly peers: Peers;
  readonly catalog: Pick<Catalog, "pins">;
  readonly log: Logger;
}): ReleasePins {
  const { topology, peers, catalog, log } = options;
  return async (repository, digest) => {
    catalog.pins.unpin(repository, digest);
    const isHere = ({ site, process }: ProcessAddress): boolean =>
      site === topology.site && process === topology.process;
    const others = peers.processes("gateway").filter((address) => !isHere(address));
    const told = others.map((address) =>
      peers
        .client(collectionV1.ConfirmService, address)
        .release({ repository, digest }, { timeoutMs: TIMEOUT_MS })
        .catch((error: unknown) => log.debug("a gateway keeps its pins", { ...nameOf(address), error })),
    );
    await Promise.all(told);
  };
}

function nameOf({ site, process }: ProcessAddress): { site: string; gateway: string } {
  return { site, gateway: process };
}
