import { type CatalogReader, isAbsent, tryFromWireDigest } from "@meridian/catalog";
import { type Digest, tryParseDigest } from "@meridian/oci";
import { recordV1 } from "@meridian/wire";
import { BlobRank } from "./wanted-blob.ts";

/** A blob that a repository shows. */
export interface VisibleBlob {
  readonly digest: Digest;
  /** Bytes; 0 while unknown. */
  readonly size: number;
  readonly rank: BlobRank;
}

const { CONFIG, CHILD, FOREIGN } = recordV1.ReferenceRole;

/**
 * Everything that belongs to a manifest: itself, its config and layers, the children of an index with theirs, and what
 * is attached to any of them (signatures, SBOMs), each digest once. Non-distributable layers are left out; what is
 * behind a manifest whose references are not known yet is left out until they are.
 */
export function* blobsOfManifest(catalog: CatalogReader, repository: string, root: Digest): Iterable<VisibleBlob> {
  const seen = new Set<Digest>([root]);
  const manifests: { digest: Digest; size: number }[] = [{ digest: root, size: 0 }];
  // The list grows while it is walked.
  for (const { digest, size } of manifests) {
    const view = catalog.manifest(repository, digest);
    yield { digest, size: view?.size ?? size, rank: BlobRank.manifest };
    for (const reference of view?.value?.references ?? []) {
      const child = tryFromWireDigest(reference.digest);
      if (child === undefined || reference.role === FOREIGN || seen.has(child)) continue;
      // Nobody has what a sparse registry took the manifest without, until somebody pushes it.
      if (isAbsent(view!.value!, reference) && !isVisible(catalog, repository, child)) continue;
      seen.add(child);
      const known = { digest: child, size: Number(reference.size) };
      if (reference.role === CHILD) manifests.push(known);
      else yield { ...known, rank: reference.role === CONFIG ? BlobRank.config : BlobRank.layer };
    }
    for (const referrer of catalog.referrers(repository, digest)) {
      if (seen.has(referrer.digest)) continue;
      seen.add(referrer.digest);
      manifests.push(referrer);
    }
  }
}

/** True when the manifest's references are neither in its record nor learned from its bytes. */
export function referencesUnknown(catalog: CatalogReader, repository: string, digest: Digest): boolean {
  const view = catalog.manifest(repository, digest);
  if (view === undefined) return false;
  return view.value === undefined || (view.value.seeBytes && view.value.references.length === 0);
}

/** True while the repository shows the digest, as a manifest or as a blob. */
export function isVisible(catalog: CatalogReader, repository: string, digest: Digest): boolean {
  return catalog.manifest(repository, digest) !== undefined || catalog.blob(repository, digest) !== undefined;
}

const PAGE = 1_000;

/** Every repository's name, page by page. */
export function* allRepositories(catalog: CatalogReader): Iterable<string> {
  yield* pages((last) => catalog.repositories({ n: PAGE, ...(last !== undefined && { last }) }));
}

/** The digests that a repository's tags name. */
export function* taggedDigests(catalog: CatalogReader, repository: string): Iterable<Digest> {
  for (const tag of pages((last) => catalog.tags(repository, { n: PAGE, ...(last !== undefined && { last }) }))) {
    const view = catalog.tag(repository, tag);
    if (view !== undefined) yield view.digest;
  }
}

/** Digests that a repository shows, tags or not. */
export function* linkedDigests(catalog: CatalogReader, repository: string): Iterable<Digest> {
  for (const name of pages((last) => catalog.linked(repository, { n: PAGE, ...(last !== undefined && { last }) }))) {
    const digest = tryParseDigest(name);
    if (digest !== undefined) yield digest;
  }
}

function* pages(read: (last: string | undefined) => { items: readonly string[]; next?: string }): Iterable<string> {
  let last: string | undefined;
  do {
    const page = read(last);
    yield* page.items;
    last = page.next;
  } while (last !== undefined);
}
