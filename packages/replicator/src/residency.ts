import type { CatalogReader } from "@meridian/catalog";
import type { Digest } from "@meridian/oci";
import { mayHold, type PlacementSettings, placementAt, type SitePlacement } from "@meridian/policy";

/** A digest that more repositories show is judged by so many of them. */
const MAX_REPOSITORIES = 10_000;

/** What may be where, by the policy and by what repositories show. */
export interface Residency {
  /** What this site keeps of a repository. */
  placement(repository: string): SitePlacement;
  /** Whether a site may hold a blob's bytes: some repository that shows it must allow that. */
  mayHold(site: string, digest: Digest): boolean;
}

/** Asks the policy and the view as they are at each question. */
export function createResidency({
  site,
  settings,
  catalog,
}: {
  readonly site: string;
  readonly settings: PlacementSettings;
  readonly catalog: Pick<CatalogReader, "repositoriesOf">;
}): Residency {
  return {
    placement: (repository) => placementAt(settings.of(repository), site),
    mayHold: (other, digest) => mayHold(settings, other, () => catalog.repositoriesOf(digest, MAX_REPOSITORIES)),
  };
}
