import { parseBoundedJson } from "./bounded-json.ts";
import type { Descriptor, ManifestReference } from "./descriptor.ts";
import { OciError } from "./errors.ts";
import {
  baseMediaType,
  isNonDistributable,
  isSchema1,
  MANIFEST_MEDIA_TYPES,
  type ManifestKind,
  MediaType,
  manifestKind,
} from "./media-type.ts";
import {
  invalidManifest,
  isPresent,
  type JsonObject,
  parseAnnotations,
  parseDescriptor,
  parseMediaType,
  requireObject,
} from "./parse-descriptor.ts";

/** What the specification asks registries to take at least (distribution-spec, "Pushing Manifests"). */
export const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;
/** No image comes near; it bounds the work that one manifest can cause. */
export const MAX_DESCRIPTORS = 10_000;

/** A manifest or index, read (OCI image-spec, manifest.md and image-index.md; Docker image manifest V2, schema 2). */
export interface Manifest {
  readonly mediaType: string;
  readonly kind: ManifestKind;
  /** Of a manifest; absent in an index. */
  readonly config?: Descriptor;
  /** Empty in an index. */
  readonly layers: readonly Descriptor[];
  /** Empty but in an index. */
  readonly manifests: readonly Descriptor[];
  /** What this one is attached to; it need not exist. */
  readonly subject?: Descriptor;
  /** As declared; {@link referrerArtifactType} says what the referrers list shows. */
  readonly artifactType?: string;
  readonly annotations: Readonly<Record<string, string>>;
  /** Everything it refers to but its subject: config, then layers, then children, as listed; repeats included. */
  readonly references: readonly ManifestReference[];
}

/**
 * Reads a manifest. `contentType` is the request's header, which must agree with the document's own `mediaType`; where
 * both are silent the document's shape decides.
 * @throws OciError MANIFEST_INVALID whose message and detail name the place; status 413 when it is too large.
 */
export function parseManifest(bytes: Uint8Array, contentType?: string): Manifest {
  if (bytes.byteLength > MAX_MANIFEST_BYTES) {
    throw new OciError("MANIFEST_INVALID", `manifest invalid: larger than ${MAX_MANIFEST_BYTES} bytes`, {
      status: 413,
      detail: { bytes: bytes.byteLength, limit: MAX_MANIFEST_BYTES },
    });
  }
  const document = requireObject(parseBoundedJson(bytes), "the document");
  const mediaType = mediaTypeOf(document, contentType);
  const kind = manifestKind(mediaType)!;
  requireUnambiguous(document, kind);
  const lists = kind === "index" ? readIndex(document) : readManifest(document);
  const subject = isPresent(document.subject) ? parseDescriptor(document.subject, "subject") : undefined;
  const artifactType = parseMediaType(document.artifactType, "artifactType");
  return {
    mediaType,
    kind,
    ...lists,
    ...(subject !== undefined && { subject }),
    ...(artifactType !== undefined && { artifactType }),
    annotations: parseAnnotations(document.annotations, "annotations") ?? {},
    references: referencesOf(lists),
  };
}

/** The artifact type in the referrers list: declared, else the config's media type, else empty (distribution-spec, "Listing Referrers"). */
export function referrerArtifactType(manifest: Manifest): string {
  return manifest.artifactType ?? manifest.config?.mediaType ?? "";
}

interface Lists {
  readonly config?: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly manifests: readonly Descriptor[];
}

function mediaTypeOf(document: JsonObject, contentType: string | undefined): string {
  const declared = parseMediaType(document.mediaType, "mediaType");
  const sent = baseMediaType(contentType);
  if (isSchema1(declared ?? sent ?? "") || document.schemaVersion === 1) {
    throw invalidManifest("schemaVersion", "is 1; push the image as an OCI or a Docker schema 2 manifest");
  }
  if (document.schemaVersion !== 2) throw invalidManifest("schemaVersion", "must be 2");
  if (declared !== undefined && sent !== undefined && declared.toLowerCase() !== sent) {
    throw invalidManifest("mediaType", `is ${declared}, but the Content-Type is ${sent.slice(0, 200)}`);
  }
  const mediaType = declared ?? sent ?? (isPresent(document.manifests) ? MediaType.ociIndex : MediaType.ociManifest);
  if (manifestKind(mediaType) === undefined) {
    const accepted = MANIFEST_MEDIA_TYPES.join(", ");
    throw invalidManifest("mediaType", `is ${mediaType.slice(0, 200)}; accepted are ${accepted}`);
  }
  return mediaType;
}

/** A document that reads as an image to one client and as an index to another is refused (CVE-2021-41190). */
function requireUnambiguous(document: JsonObject, kind: ManifestKind): void {
  const foreign = kind === "index" ? ["config", "layers"] : ["manifests"];
  for (const field of [...foreign, "fsLayers"]) {
    if (isPresent(document[field])) throw invalidManifest(field, `must not stand in an image ${kind}`);
  }
}

function readIndex(document: JsonObject): Lists {
  return { layers: [], manifests: readList(document, "manifests") };
}

function readManifest(document: JsonObject): Lists {
  return { config: parseDescriptor(document.config, "config"), layers: readList(document, "layers"), manifests: [] };
}

function readList(document: JsonObject, field: string): readonly Descriptor[] {
  const list = document[field];
  // Go programs write null for an empty list.
  if (list === null) return [];
  if (!Array.isArray(list)) throw invalidManifest(field, list === undefined ? "is missing" : "must be a list");
  if (list.length > MAX_DESCRIPTORS) throw invalidManifest(field, `has more than ${MAX_DESCRIPTORS} entries`);
  return list.map((entry, index) => parseDescriptor(entry, `${field}[${index}]`));
}

function referencesOf({ config, layers, manifests }: Lists): readonly ManifestReference[] {
  return [
    ...(config === undefined ? [] : [{ role: "config" as const, descriptor: config }]),
    ...layers.map((descriptor) => ({
      role: isKeptElsewhere(descriptor) ? ("foreign" as const) : ("layer" as const),
      descriptor,
    })),
    ...manifests.map((descriptor) => ({
      role: isKeptElsewhere(descriptor) ? ("foreign" as const) : ("child" as const),
      descriptor,
    })),
  ];
}

function isKeptElsewhere({ mediaType, urls }: Descriptor): boolean {
  return isNonDistributable(mediaType) || (urls !== undefined && urls.length > 0);
}
