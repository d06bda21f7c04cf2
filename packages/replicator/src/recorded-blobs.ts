import type { CatalogReader } from "@meridian/catalog";
import type { Digest } from "@meridian/oci";
import { allRepositories, linkedDigests, taggedDigests } from "./visible-blobs.ts";

/** A blob that several repositories show is mostly shown by neighbours: so many are remembered to be named once. */
const REMEMBERED = 10_000;

/** What records say that a node holds, of all that is visible; some twice. Size 0: unknown. */
export function* recordedAt(catalog: CatalogReader, node: string): Iterable<{ digest: Digest; size: number }> {
  const seen = new Set<Digest>();
  for (const repository of allRepositories(catalog)) {
    for (const digests of [taggedDigests(catalog, repository), linkedDigests(catalog, repository)]) {
      for (const digest of digests) {
        if (seen.has(digest) || !catalog.holders(digest).includes(node)) continue;
        if (seen.size === REMEMBERED) seen.clear();
        seen.add(digest);
        const view = catalog.manifest(repository, digest) ?? catalog.blob(repository, digest);
        yield { digest, size: view?.size ?? 0 };
      }
    }
  }
}
