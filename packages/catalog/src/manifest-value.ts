import { create } from "@bufbuild/protobuf";
import {
  type Descriptor,
  type Digest,
  type Manifest,
  type ManifestReference,
  manifestKind,
  referrerArtifactType,
} from "@meridian/oci";
import { recordV1 } from "@meridian/wire";
import { toWireDigest } from "./wire-digest.ts";

const NONE: ReadonlySet<Digest> = new Set();

/**
 * What the catalog keeps of a manifest of `size` bytes; it leaves out by itself what does not fit into a record.
 * `absent` is what the repository did not have as a sparse registry took the manifest: nothing of that becomes visible.
 */
export function manifestValueOf(
  manifest: Manifest,
  size: number,
  absent: ReadonlySet<Digest> = NONE,
): recordV1.ManifestValue {
  return create(recordV1.ManifestValueSchema, {
    mediaType: manifest.mediaType,
    size: BigInt(size),
    subject: manifest.subject && reference(manifest.subject, recordV1.ReferenceRole.UNSPECIFIED),
    artifactType: referrerArtifactType(manifest),
    annotations: manifest.annotations,
    references: manifest.references.map((listed) => ({
      ...reference(listed.descriptor, roleOf(listed)),
      absent: absent.has(listed.descriptor.digest),
    })),
  });
}

/** True when the reference makes nothing visible: a sparse registry took the manifest without it. */
export function isAbsent(value: recordV1.ManifestValue, reference: recordV1.Reference): boolean {
  return value.sparse || reference.absent;
}

/** What the catalog keeps of `size` bytes that are listed as a manifest and are none: that they reference nothing. */
export function noManifestValue(mediaType: string, size: number): recordV1.ManifestValue {
  return create(recordV1.ManifestValueSchema, { mediaType, size: BigInt(size) });
}

/** True while nobody told what the manifest references: no record came, or it could not hold them and nobody has read the bytes. */
export function areUnknown(value: recordV1.ManifestValue | undefined): boolean {
  return value === undefined || (value.seeBytes && value.references.length === 0);
}

/** An index may list blobs, as build caches do: those are served as blobs. */
function roleOf({ role, descriptor }: ManifestReference): recordV1.ReferenceRole {
  const { CONFIG, LAYER, CHILD, FOREIGN } = recordV1.ReferenceRole;
  if (role === "child") return manifestKind(descriptor.mediaType) === undefined ? LAYER : CHILD;
  return role === "config" ? CONFIG : role === "layer" ? LAYER : FOREIGN;
}

function reference({ digest, size, mediaType }: Descriptor, role: recordV1.ReferenceRole): recordV1.Reference {
  return create(recordV1.ReferenceSchema, { digest: toWireDigest(digest), size: BigInt(size), role, mediaType });
}
