import { create, type MessageInitShape } from "@bufbuild/protobuf";
import {
  type Descriptor,
  type Digest,
  digestAlgorithm,
  digestBytes,
  digestFromBytes,
  type ManifestReference,
  manifestKind,
  parseManifest,
  referrerArtifactType,
} from "@meridian/oci";
import { recordV1 } from "@meridian/wire";

const { CONFIG, LAYER, CHILD, FOREIGN, UNSPECIFIED } = recordV1.ReferenceRole;
const { SHA256, SHA512 } = recordV1.DigestAlgorithm;

/**
 * A manifest's value with all references, read from its bytes, however large.
 * @throws OciError when the bytes are no manifest of this media type.
 */
export function manifestValueOf(bytes: Uint8Array, mediaType: string): recordV1.ManifestValue {
  const manifest = parseManifest(bytes, mediaType);
  return create(recordV1.ManifestValueSchema, {
    mediaType: manifest.mediaType,
    size: BigInt(bytes.byteLength),
    ...(manifest.subject && { subject: reference(manifest.subject, UNSPECIFIED) }),
    artifactType: referrerArtifactType(manifest),
    annotations: { ...manifest.annotations },
    references: manifest.references.map((listed) => reference(listed.descriptor, roleOf(listed))),
  });
}

/** The digest of a reference; undefined when it is absent or of an algorithm that this version does not know. */
export function digestOfReference({ digest }: recordV1.Reference): Digest | undefined {
  if (digest?.algorithm === SHA256) return digestFromBytes("sha256", digest.hash);
  return digest?.algorithm === SHA512 ? digestFromBytes("sha512", digest.hash) : undefined;
}

/** An index may list blobs, as build caches do: those are fetched as blobs. */
function roleOf({ role, descriptor }: ManifestReference): recordV1.ReferenceRole {
  if (role === "child") return manifestKind(descriptor.mediaType) === undefined ? LAYER : CHILD;
  return role === "config" ? CONFIG : role === "layer" ? LAYER : FOREIGN;
}

function reference(
  { digest, size, mediaType }: Descriptor,
  role: recordV1.ReferenceRole,
): MessageInitShape<typeof recordV1.ReferenceSchema> {
  const algorithm = digestAlgorithm(digest) === "sha256" ? SHA256 : SHA512;
  return { digest: { algorithm, hash: digestBytes(digest) }, size: BigInt(size), role, mediaType };
}
