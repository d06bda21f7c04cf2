import type { Catalog, Change } from "@meridian/catalog";
import { manifestValueOf } from "@meridian/catalog";
import type { Topology } from "@meridian/cluster";
import { type Digest, type Manifest, parseManifest } from "@meridian/oci";
import type { BlobSources } from "./blob-sources.ts";
import { type CopyKeeper, holderChanges } from "./copy-keeper.ts";
import type { Lookup } from "./lookup.ts";
import type { ManifestBytes } from "./manifest-bytes.ts";
import { Refusal, unavailable } from "./refusal.ts";

/** What {@link restoreChanges} needs. */
export interface RestoreParts {
  readonly catalog: Catalog;
  readonly topology: Topology;
  readonly lookup: Lookup;
  readonly sources: Pick<BlobSources, "reachable">;
  readonly manifests: ManifestBytes;
  readonly keeper: CopyKeeper;
  /** Restores manifests although the repository lacks what they reference. */
  readonly sparse: boolean;
}

interface Part {
  readonly digest: Digest;
  readonly size: number;
}

/**
 * The changes that make a deleted manifest visible again, with its children and links: it is pushed once more, from the
 * bytes that some holder still has. Empty when it is visible.
 * @throws Refusal 409 when bytes are gone, naming them; 503 while their holders cannot be reached.
 */
export async function restoreChanges(
  repository: string,
  manifest: Part,
  parts: RestoreParts,
  planned = new Set<Digest>(),
): Promise<Change[]> {
  const { digest } = manifest;
  if (planned.has(digest) || parts.catalog.manifest(repository, digest) !== undefined) return [];
  planned.add(digest);
  await requireBytes(repository, manifest, parts);
  const { bytes } = (await parts.manifests.load(repository, partAt(manifest, parts))).manifest;
  const parsed = parseManifest(bytes);
  const needed = await partChanges(repository, parsed, parts, planned);
  parts.catalog.pins.hold(digest);
  const stored = await parts.keeper.store(bytes, digest);
  const value = manifestValueOf(parsed, bytes.byteLength, needed.absent);
  return [...needed.changes, ...holderChanges(stored), { kind: "manifest", repository, digest, value }];
}

/** What the manifest references: children restored, blobs linked again. */
async function partChanges(
  repository: string,
  { references }: Manifest,
  parts: RestoreParts,
  planned: Set<Digest>,
): Promise<{ changes: Change[]; absent: Set<Digest> }> {
  const { catalog, sparse } = parts;
  const changes: Change[] = [];
  const absent = new Set<Digest>();
  for (const { role, descriptor } of references) {
    const { digest } = descriptor;
    const isHere = planned.has(digest) || catalog.blob(repository, digest) !== undefined;
    if (role === "foreign" || isHere) continue;
    try {
      if (role === "child") changes.push(...(await restoreChanges(repository, descriptor, parts, planned)));
      else changes.push(await linkAgain(repository, descriptor, parts));
    } catch (error) {
      if (!sparse || !(error instanceof Refusal) || error.code !== "MANIFEST_BLOB_UNKNOWN") throw error;
      absent.add(digest);
    }
  }
  return { changes, absent };
}

async function linkAgain(repository: string, part: Part, parts: RestoreParts): Promise<Change> {
  await requireBytes(repository, part, parts);
  return { kind: "link", repository, digest: part.digest, size: part.size };
}

async function requireBytes(repository: string, part: Part, parts: RestoreParts): Promise<void> {
  const { catalog, lookup, sources } = parts;
  const { digest } = part;
  if (catalog.holders(digest).length === 0) {
    const { unasked } = await lookup.ask(repository, [digest]);
    if (catalog.holders(digest).length === 0) throw gone(digest, unasked);
  }
  if (!sources.reachable(partAt(part, parts)))
    throw unavailable(`no holder of ${digest} can be reached now: it can be restored later`, { detail: { digest } });
}

function gone(digest: Digest, unasked: readonly string[]): Refusal {
  if (unasked.length > 0)
    return unavailable(`no holder of ${digest} is known here, and ${unasked.join(", ")} could not be asked`);
  return new Refusal("MANIFEST_BLOB_UNKNOWN", `the bytes of ${digest} are gone: it cannot be restored, push it again`, {
    status: 409,
    detail: [{ digest }],
  });
}

function partAt({ digest, size }: Part, { topology }: RestoreParts): Part & { site: string } {
  return { digest, size, site: topology.site };
}
