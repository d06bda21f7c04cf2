import { fromBinary } from "@bufbuild/protobuf";
import type { OrderedReader } from "@meridian/keyvalue";
import type { Digest } from "@meridian/oci";
import { recordV1 } from "@meridian/wire";
import type { LinkView, ManifestView, TagView } from "./catalog.ts";
import { decodeRecord } from "./merge.ts";
import {
  decodeLiveTag,
  decodeNamed,
  decodeRegisterRow,
  isLiveRow,
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

export function firstNamer(reader: OrderedReader, repository: string, digest: Digest): Namer | undefined {
  for (const namer of namers(reader, repository, digest, { limit: 1 })) {
    return namer;
  }
  return undefined;
}

/** A manifest is visible by its own live put, by a live tag, or as the child of a visible index. */
export function isManifestVisible(reader: OrderedReader, repository: string, digest: Digest): boolean {
  if (isLiveRow(reader.get(`rm ${repository} ${digest}`))) {
    return true;
  }
  const first = firstNamer(reader, repository, digest);
  return first !== undefined && first.role !== NamerRole.blob;
}

/** Bytes are linked by a live link, as a visible manifest, or because a visible manifest references them. */
export function isLinked(reader: OrderedReader, repository: string, digest: Digest): boolean {
  return (
    isLiveRow(reader.get(`rl ${repository} ${digest}`)) ||
    isLiveRow(reader.get(`rm ${repository} ${digest}`)) ||
    firstNamer(reader, repository, digest) !== undefined
  );
}

export function findTag(reader: OrderedReader, repository: string, tag: string): TagView | undefined {
  const row = reader.get(liveTagKey(repository, tag));
  return row === undefined ? undefined : decodeLiveTag(row);
}

export function findManifest(reader: OrderedReader, repository: string, digest: Digest): ManifestView | undefined {
  const row = reader.get(`rm ${repository} ${digest}`);
  const first = firstNamer(reader, repository, digest);
  const live = isLiveRow(row);
  if (!live && (first === undefined || first.role === NamerRole.blob)) {
    return undefined;
  }
  const known = manifestReferences(reader, repository, digest);
  const site = live || first === undefined ? known?.site : first.named.site;
  const { mediaType = "", size = 0 } = first?.named ?? {};
  return {
    digest,
    mediaType: known?.value.mediaType || mediaType,
    size: Number(known?.value.size ?? 0n) || size,
    site: site ?? "",
    value: known?.value,
  };
}

/** A manifest's value, and the site whose record it is. */
export interface KnownManifest {
  readonly value: recordV1.ManifestValue;
  readonly site: string;
}

/**
 * What is known of a manifest's references: by its register, alive or dead, for the digest vouches for them; else by
 * its bytes, when this process has read them.
 */
export function manifestReferences(
  reader: OrderedReader,
  repository: string,
  digest: Digest,
): KnownManifest | undefined {
  const row = reader.get(`rm ${repository} ${digest}`);
  const registered = row === undefined ? undefined : registeredManifest(row);
  if (registered !== undefined && !registered.value.seeBytes) {
    return registered;
  }
  const learned = reader.get(learnedKey(repository, digest));
  if (learned === undefined) {
    return registered;
  }
  const site = registered?.site ?? firstNamer(reader, repository, digest)?.named.site ?? "";
  return { value: fromBinary(recordV1.ManifestValueSchema, learned), site };
}

function registeredManifest(row: Uint8Array): KnownManifest | undefined {
  const { put } = decodeRecord(decodeRegisterRow(row).record);
  return put?.value.case === "manifest" ? { value: put.value.value, site: put.hlc?.site ?? "" } : undefined;
}

export function findLink(reader: OrderedReader, repository: string, digest: Digest): LinkView | undefined {
  const row = reader.get(`rl ${repository} ${digest}`);
  if (isLiveRow(row) && row !== undefined) {
    const { put } = decodeRecord(decodeRegisterRow(row).record);
    const size = put?.value.case === "link" ? Number(put.value.value.size) : 0;
    return { digest, size, site: put?.hlc?.site ?? "" };
  }
  const first = firstNamer(reader, repository, digest);
  if (first !== undefined) {
    return { digest, size: first.named.size, site: first.named.site };
  }
  const manifest = findManifest(reader, repository, digest);
  return manifest === undefined ? undefined : { digest, size: manifest.size, site: manifest.site };
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
