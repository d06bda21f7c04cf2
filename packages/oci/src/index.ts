export { ContentError, ContentErrorKind, isContentError } from "./content-error.ts";
export { contentErrorToOci, type ErrorSubject, toOciError } from "./content-error-to-oci.ts";
export type { Descriptor, ManifestReference, ReferenceRole } from "./descriptor.ts";
export {
  type Digest,
  type DigestAlgorithm,
  Digester,
  digestAlgorithm,
  digestBytes,
  digestFromBytes,
  digestHex,
  digestOf,
  parseDigest,
  tryParseDigest,
} from "./digest.ts";
export {
  ERROR_CODES,
  type ErrorCode,
  type ErrorCodeEntry,
  isOciError,
  OciError,
  type OciErrorOptions,
  toErrorBody,
} from "./errors.ts";
export { MAX_DESCRIPTORS, MAX_MANIFEST_BYTES, type Manifest, parseManifest, referrerArtifactType } from "./manifest.ts";
export {
  baseMediaType,
  isNonDistributable,
  isSchema1,
  MANIFEST_MEDIA_TYPES,
  type ManifestKind,
  MediaType,
  manifestKind,
} from "./media-type.ts";
export {
  formatContentRange,
  formatUploadRange,
  MAX_RANGES,
  parseContentRange,
  parseRange,
  type Span,
} from "./range.ts";
export {
  attachmentSubject,
  type ImageName,
  MAX_REPOSITORY_LENGTH,
  parseImageName,
  parseReference,
  parseRepository,
  parseTag,
  type Reference,
  type RepositoryName,
  type Tag,
  tryParseReference,
  tryParseRepository,
  tryParseTag,
} from "./reference.ts";
