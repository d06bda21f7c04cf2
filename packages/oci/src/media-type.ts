/** The media types that mean something to a registry (OCI image-spec, media-types.md; Docker image manifest V2). */
export const MediaType = {
  ociManifest: "application/vnd.oci.image.manifest.v1+json",
  ociIndex: "application/vnd.oci.image.index.v1+json",
  ociConfig: "application/vnd.oci.image.config.v1+json",
  /** Content is the two bytes `{}`: a descriptor that had to be there (image-spec, manifest.md, "Guidance for an Empty Descriptor"). */
  ociEmpty: "application/vnd.oci.empty.v1+json",
  ociLayer: "application/vnd.oci.image.layer.v1.tar",
  ociLayerGzip: "application/vnd.oci.image.layer.v1.tar+gzip",
  ociLayerZstd: "application/vnd.oci.image.layer.v1.tar+zstd",
  ociForeignLayer: "application/vnd.oci.image.layer.nondistributable.v1.tar",
  ociForeignLayerGzip: "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
  ociForeignLayerZstd: "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
  dockerManifest: "application/vnd.docker.distribution.manifest.v2+json",
  dockerManifestList: "application/vnd.docker.distribution.manifest.list.v2+json",
  dockerConfig: "application/vnd.docker.container.image.v1+json",
  dockerLayerGzip: "application/vnd.docker.image.rootfs.diff.tar.gzip",
  dockerForeignLayer: "application/vnd.docker.image.rootfs.foreign.diff.tar",
  dockerForeignLayerGzip: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
  /** Not accepted: replaced by the types above in 2016. */
  dockerManifestV1: "application/vnd.docker.distribution.manifest.v1+json",
  dockerManifestV1Signed: "application/vnd.docker.distribution.manifest.v1+prettyjws",
} as const;

/** What a document lists: the blobs of one image, or other manifests. */
export type ManifestKind = "manifest" | "index";

const KINDS: ReadonlyMap<string, ManifestKind> = new Map([
  [MediaType.ociManifest, "manifest"],
  [MediaType.dockerManifest, "manifest"],
  [MediaType.ociIndex, "index"],
  [MediaType.dockerManifestList, "index"],
]);

const FOREIGN: ReadonlySet<string> = new Set([
  MediaType.ociForeignLayer,
  MediaType.ociForeignLayerGzip,
  MediaType.ociForeignLayerZstd,
  MediaType.dockerForeignLayer,
  MediaType.dockerForeignLayerGzip,
]);

/** The media types under which a manifest may be stored. */
export const MANIFEST_MEDIA_TYPES: readonly string[] = [...KINDS.keys()];

/** Undefined when the media type is not a manifest's: then its content is a blob. */
export function manifestKind(mediaType: string): ManifestKind | undefined {
  return KINDS.get(mediaType);
}

/** True for the schema 1 manifests that no registry takes any more. */
export function isSchema1(mediaType: string): boolean {
  return mediaType === MediaType.dockerManifestV1 || mediaType === MediaType.dockerManifestV1Signed;
}

/** True for layers that a registry need not have (image-spec, layer.md, "Non-Distributable Layers"). */
export function isNonDistributable(mediaType: string): boolean {
  return FOREIGN.has(mediaType);
}

/** A Content-Type without its parameters, in lower case; undefined when it is absent, empty or says nothing ("application/json"). */
export function baseMediaType(contentType: string | undefined): string | undefined {
  const base = contentType?.split(";", 1)[0]?.trim().toLowerCase();
  return base === undefined || UNSPECIFIC.has(base) ? undefined : base;
}

const UNSPECIFIC: ReadonlySet<string> = new Set(["", "application/json", "application/octet-stream"]);
