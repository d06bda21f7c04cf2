import type { CatalogReader } from "@meridian/catalog";
import { FIXED_MEMBERSHIP, type Membership, type Topology } from "@meridian/cluster";
import type { Digest } from "@meridian/oci";
import {
  mayHold,
  type PlacementSettings,
  placementAt,
  type RepositorySettings,
  type SitePlacement,
} from "@meridian/policy";

/** A digest that more repositories show is judged by so many of them. */
const MAX_REPOSITORIES = 10_000;

/** What may be where, by the policy and by what repositories show. */
export interface Residency {
  /** What this site keeps of a repository: all of it, where a site that drains would else be the only one that has. */
  placement(repository: string): SitePlacement;
  /** Whether a site may hold a blob's bytes: it must be a member, and some repository that shows it must allow that. */
  mayHold(site: string, digest: Digest): boolean;
}

/** Asks the policy and the view as they are at each question. */
export function createResidency({
  topology,
  membership = FIXED_MEMBERSHIP,
  settings,
  catalog,
}: {
  readonly topology: Pick<Topology, "site" | "sites">;
  readonly membership?: Membership;
  readonly settings: PlacementSettings;
  readonly catalog: Pick<CatalogReader, "repositoriesOf">;
}): Residency {
  const { site } = topology;
  return {
    placement(repository) {
      const inForce = settings.of(repository);
      const kept = placementAt(inForce, site);
      // What comes now would have to leave again.
      if (membership.isDraining(site)) return kept === "never" ? kept : "lazy";
      return kept === "lazy" && isHeir(inForce, topology, membership) ? "eager" : kept;
    },
    mayHold: (other, digest) =>
      topology.sites.includes(other) &&
      mayHold(settings, other, () => catalog.repositoriesOf(digest, MAX_REPOSITORIES)),
  };
}

/** True for the first of the sites that may hold a repository, when a site drains and none of the others keeps all of it. */
function isHeir(
  inForce: RepositorySettings,
  { site, sites }: Pick<Topology, "site" | "sites">,
  { isDraining }: Membership,
): boolean {
  if (!sites.some(isDraining)) return false;
  const staying = sites.filter((one) => !isDraining(one) && placementAt(inForce, one) !== "never");
  return staying[0] === site && staying.every((one) => placementAt(inForce, one) !== "eager");
}
