import { fromBinary } from "@bufbuild/protobuf";
import type { OrderedReader } from "@meridian/keyvalue";
import type { Digest } from "@meridian/oci";
import { recordV1 } from "@meridian/wire";
import type { LinkView, ManifestView, TagView } from "./catalog.ts";
import { decodeRecord } from "./merge.ts";
import { isLinked, isVisible, readStanding } from "./standing.ts";
import {
  decodeLiveTag,
  decodeNamed,
  decodeRegisterRow,
  learnedKey,
  liveTagKey,
  type Named,
  NamerRole,
  under,
} from "./view-layout.ts";

/** A digest's name as a row tells it. */
export interface Namer {
  readonly role: NamerRole;
  /** The tag, or the digest of the manifest. */
  readonly namer: string;
  readonly named: Named;
}

/** What names the digest in the repository: live tags first, then visible indexes, then other visible manifests. */
export function* namers(
  reader: OrderedReader,
  repository: string,
  digest: Digest,
  { role = "", limit }: { role?: NamerRole | ""; limit?: number } = {},
): Iterable<Namer> {
  const prefix = `n ${repository} ${digest} `;
  const bounds = role === "" ? under(prefix) : { start: prefix + role, end: prefix + String(Number(role) + 1) };
  for (const [key, row] of reader.range(limit === undefined ? bounds : { ...bounds, limit })) {
    const found = key.charAt(prefix.length) as NamerRole;
    yield { role: found, namer: key.slice(prefix.length + 1), named: decodeNamed(row) };
  }
}

/** What names the digest, first of all what makes it visible. */
export function firstNamer(reader: OrderedReader, repository: string, digest: Digest): Namer | undefined {
  for (const namer of namers(reader, repository, digest, { limit: 1 })) {
    return namer;
  }
  return undefined;
}

/** What makes the digest visible; undefined when nothing but its own records does. */
function firstShowing(reader: OrderedReader, repository: string, digest: Digest): Named | undefined {
  const first = firstNamer(reader, repository, digest);
  return first === undefined || first.role === NamerRole.absent ? undefined : first.named;
}

export function findTag(reader: OrderedReader, repository: string, tag: string): TagView | undefined {
  const row = reader.get(liveTagKey(repository, tag));
  return row === undefined ? undefined : decodeLiveTag(row);
}

/** The visible manifest; what its own record does not tell, the first name tells. */
export function findManifest(reader: OrderedReader, repository: string, digest: Digest): ManifestView | undefined {
  const standing = readStanding(reader, repository, digest);
  if (!isVisible(standing)) {
    return undefined;
  }
  const known = manifestReferences(reader, repository, digest);
  const named = standing.manifest ? undefined : firstShowing(reader, repository, digest);
  return {
    digest,
    mediaType: known?.value.mediaType || (named?.mediaType ?? ""),
    size: Number(known?.value.size ?? 0n) || (named?.size ?? 0),
    site: named?.site ?? known?.site ?? "",
    value: known?.value,
  };
}

/** A manifest's value, and the site whose record it is. */
export interface KnownManifest {
  readonly value: recordV1.ManifestValue;
  readonly site: string;
}

/** What is known of a manifest's references, see {@link knownManifest}. */
export function manifestReferences(
  reader: OrderedReader,
  repository: string,
  digest: Digest,
): KnownManifest | undefined {
  const record = findRecord(reader, `rm ${repository} ${digest}`)?.record;
  return knownManifest(reader, repository, digest, record);
}

/**
 * What a manifest's register says of its references, alive or dead, for the digest vouches for it; else what its
 * bytes say, when this process has read them.
 */
export function knownManifest(
  reader: OrderedReader,
  repository: string,
  digest: Digest,
  record: recordV1.Record | undefined,
): KnownManifest | undefined {
  const put = record?.put;
  const registered = put?.value.case === "manifest" ? { value: put.value.value, site: put.hlc?.site ?? "" } : undefined;
  if (registered !== undefined && !registered.value.seeBytes) {
    return registered;
  }
  const learned = reader.get(learnedKey(repository, digest));
  if (learned === undefined) {
    return registered;
  }
  const value = fromBinary(recordV1.ManifestValueSchema, learned);
  // The bytes do not tell what was absent: the record does.
  value.sparse = registered?.value.sparse ?? value.sparse;
  const site = registered?.site ?? firstShowing(reader, repository, digest)?.site ?? "";
  return { value, site };
}

/** The linked bytes; what no link record tells, the first name tells. */
export function findLink(reader: OrderedReader, repository: string, digest: Digest): LinkView | undefined {
  const standing = readStanding(reader, repository, digest);
  if (standing.link) {
    const put = findRecord(reader, `rl ${repository} ${digest}`)?.record.put;
    const size = put?.value.case === "link" ? Number(put.value.value.size) : 0;
    return { digest, size, site: put?.hlc?.site ?? "" };
  }
  if (!isLinked(standing)) {
    return undefined;
  }
  const named = firstShowing(reader, repository, digest);
  if (named !== undefined) {
    return { digest, size: named.size, site: named.site };
  }
  const manifest = findManifest(reader, repository, digest);
  return manifest && { digest, size: manifest.size, site: manifest.site };
}

/** The record of a view key, or undefined. */
export function findRecord(
  reader: OrderedReader,
  key: string,
): { record: recordV1.Record; sequence: number; live: boolean } | undefined {
  const stored = reader.get(key);
  if (stored === undefined) {
    return undefined;
  }
  const { record, sequence, live } = decodeRegisterRow(stored);
  return { record: decodeRecord(record), sequence, live };
}
