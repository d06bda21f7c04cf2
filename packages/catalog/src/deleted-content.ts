import type { OrderedReader } from "@meridian/keyvalue";
import type { Digest } from "@meridian/oci";
import type { recordV1 } from "@meridian/wire";
import type { DeletedTag, Page } from "./catalog.ts";
import { decodeRecord } from "./merge.ts";
import { isVisible, readStanding } from "./standing.ts";
import { decodeRegisterRow, isLiveRow, under } from "./view-layout.ts";
import { tryFromWireDigest } from "./wire-digest.ts";

/** At most this many registers are looked at for one page: dead ones may stand far apart. */
const MAX_LOOKED_AT = 20_000;

/** Tags of a repository whose register is dead, with what they named last. */
export function deletedTags(
  reader: OrderedReader,
  repository: string,
  page: { readonly n?: number; readonly last?: string },
): Page<DeletedTag> {
  return deadRegisters(reader, `rt ${repository} `, page, (tag, row) => {
    const { put } = decodeRecord(decodeRegisterRow(row).record);
    const digest = put?.value.case === "tag" ? tryFromWireDigest(put.value.value.digest) : undefined;
    return digest && { tag, digest };
  });
}

/** Manifests of a repository that were deleted and that nothing else makes visible. */
export function deletedManifests(
  reader: OrderedReader,
  repository: string,
  page: { readonly n?: number; readonly last?: string },
): Page<Digest> {
  return deadRegisters(reader, `rm ${repository} `, page, (name) => {
    const digest = name as Digest;
    return isVisible(readStanding(reader, repository, digest)) ? undefined : digest;
  });
}

/** The value of a manifest whose own record is dead; undefined when it is not there, or alive. */
export function deletedManifest(
  reader: OrderedReader,
  repository: string,
  digest: Digest,
): recordV1.ManifestValue | undefined {
  const row = reader.get(`rm ${repository} ${digest}`);
  if (row === undefined || isLiveRow(row)) {
    return undefined;
  }
  const { put } = decodeRecord(decodeRegisterRow(row).record);
  return put?.value.case === "manifest" ? put.value.value : undefined;
}

function deadRegisters<T>(
  reader: OrderedReader,
  prefix: string,
  { n = 1_000, last }: { readonly n?: number; readonly last?: string },
  read: (name: string, row: Uint8Array) => T | undefined,
): Page<T> {
  const { start, end } = under(prefix);
  const items: T[] = [];
  let at: string | undefined;
  let lookedAt = 0;
  for (const [key, row] of reader.range({ start: last === undefined ? start : `${prefix}${last}\0`, end })) {
    if (items.length === n || lookedAt === MAX_LOOKED_AT) {
      return { items, next: at };
    }
    lookedAt += 1;
    at = key.slice(prefix.length);
    const item = isLiveRow(row) ? undefined : read(at, row);
    if (item !== undefined) {
      items.push(item);
    }
  }
  return { items };
}
