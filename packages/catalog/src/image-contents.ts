import type { Digest } from "@meridian/oci";
import { recordV1 } from "@meridian/wire";
import type { ImageContents } from "./catalog.ts";
import { isAbsent } from "./manifest-value.ts";
import { fromWireDigest } from "./wire-digest.ts";

const { CHILD, FOREIGN } = recordV1.ReferenceRole;

/**
 * Everything that a client needs of an image or index, each digest once: the manifest first, then what it references,
 * level by level. Not complete while some manifest's references are unknown.
 */
export function imageContents(options: {
  root: Digest;
  size: number;
  /** Undefined while not known; with `seeBytes` when the record could not hold them. */
  references: (manifest: Digest) => recordV1.ManifestValue | undefined;
  /** True when the repository has what was absent as its manifest was pushed. */
  isHere: (digest: Digest) => boolean;
}): ImageContents {
  const blobs = new Map([[options.root, { digest: options.root, size: options.size, manifest: true }]]);
  const manifests = [options.root];
  const absent = new Set<Digest>();
  let complete = true;
  // The list grows while it is walked: children come behind their parents.
  for (const manifest of manifests) {
    const value = options.references(manifest);
    if (value === undefined || value.seeBytes) {
      complete = false;
    }
    for (const reference of value?.references ?? []) {
      const digest = fromWireDigest(reference.digest);
      if (reference.role === FOREIGN || blobs.has(digest)) {
        continue;
      }
      if (value !== undefined && isAbsent(value, reference) && !options.isHere(digest)) {
        absent.add(digest);
        continue;
      }
      blobs.set(digest, { digest, size: Number(reference.size), manifest: reference.role === CHILD });
      if (reference.role === CHILD) {
        manifests.push(digest);
      }
    }
  }
  return { blobs: [...blobs.values()], absent: [...absent], complete };
}
