import type { Catalog, CatalogReader, LinkView, ManifestView } from "@meridian/catalog";
import type { Digest } from "@meridian/oci";
import { warning } from "./answer.ts";
import type { Lookup, LookupOutcome } from "./lookup.ts";
import { Refusal, unavailable } from "./refusal.ts";

/** Content by digest: from this site's view, else after asking the other members once. */
export interface FindContent {
  /** Throws the 404 that names members who could not be asked. */
  manifest(repository: string, digest: Digest): ManifestView | Promise<ManifestView>;
  blob(repository: string, digest: Digest): LinkView | Promise<LinkView>;
  /**
   * Throws when the repository lacks any of these: 400 naming them, or 503 while a member could not be asked.
   * An index's child may be linked as a blob only.
   */
  requireAll(repository: string, digests: readonly Digest[]): Promise<void>;
  /** Those that neither this site nor any member that could be asked shows in the repository. */
  absentOf(repository: string, digests: readonly Digest[]): Promise<ReadonlySet<Digest>>;
}

type AbsentCode = "BLOB_UNKNOWN" | "MANIFEST_UNKNOWN";

export function createFindContent({
  catalog,
  lookup,
}: {
  readonly catalog: CatalogReader & Pick<Catalog, "pins">;
  readonly lookup: Lookup;
}): FindContent {
  /** What is seen here stays: in the same turn as the look. */
  const isVisible = (repository: string, digest: Digest): boolean => {
    const seen = catalog.blob(repository, digest) ?? catalog.manifest(repository, digest);
    if (seen !== undefined) catalog.pins.pin(repository, digest, seen.size);
    return seen !== undefined;
  };

  /** What is not visible even after the other members were asked for it. */
  const missingOf = async (
    repository: string,
    digests: readonly Digest[],
  ): Promise<LookupOutcome & { readonly still: readonly Digest[] }> => {
    let missing = digests.filter((digest) => !isVisible(repository, digest));
    if (missing.some((digest) => catalog.pins.isPinned(digest, repository))) {
      // A client was told that it is here, and its link is being written again.
      await catalog.pins.relinked();
      missing = missing.filter((digest) => !isVisible(repository, digest));
    }
    if (missing.length === 0) return { still: missing, unasked: [], unlearned: false };
    const outcome = await lookup.ask(repository, missing);
    return { ...outcome, still: missing.filter((digest) => !isVisible(repository, digest)) };
  };

  const afterAsking = async <T>(
    repository: string,
    digest: Digest,
    code: AbsentCode,
    see: () => T | undefined,
  ): Promise<T> => {
    const outcome = await lookup.ask(repository, [digest]);
    const seen = see();
    if (seen === undefined && outcome.unlearned) throw unlearned();
    if (seen === undefined) throw unknown(code, repository, digest, outcome);
    return seen;
  };

  return {
    manifest: (repository, digest) =>
      catalog.manifest(repository, digest) ??
      afterAsking(repository, digest, "MANIFEST_UNKNOWN", () => catalog.manifest(repository, digest)),
    blob: (repository, digest) =>
      catalog.blob(repository, digest) ??
      afterAsking(repository, digest, "BLOB_UNKNOWN", () => catalog.blob(repository, digest)),
    async absentOf(repository, digests) {
      return new Set((await missingOf(repository, digests)).still);
    },
    async requireAll(repository, digests) {
      const { still, unlearned: lost, unasked } = await missingOf(repository, digests);
      if (still.length === 0) return;
      if (lost) throw unlearned();
      if (unasked.length > 0)
        throw unavailable(
          `${still.length} of the manifest's parts are not known here, and ${list(unasked)} could not be asked`,
          { detail: { unknown: still, unasked } },
        );
      throw new Refusal(
        "MANIFEST_BLOB_UNKNOWN",
        `repository ${repository} does not have all that the manifest references: push or mount it first`,
        {
          detail: still.map((digest) => ({ digest })),
        },
      );
    },
  };
}

/** Another site knows something of it: to say that there is none would be wrong. */
function unlearned(): Refusal {
  return unavailable("this site cannot take in what other sites know of this now: its disk may be full");
}

function unknown(code: AbsentCode, repository: string, digest: Digest, { unasked }: LookupOutcome): Refusal {
  const headers =
    unasked.length === 0 ? [] : ["Warning", warning(`${list(unasked)} could not be asked and may know it`)];
  const what = code === "BLOB_UNKNOWN" ? "blob" : "manifest";
  return new Refusal(code, `repository ${repository} has no ${what} ${digest}`, {
    detail: { digest, unasked },
    headers,
  });
}

function list(sites: readonly string[]): string {
  return `${sites.length === 1 ? "site" : "sites"} ${sites.join(", ")}`;
}
