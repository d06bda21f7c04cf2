export { ContentError, ContentErrorKind, isContentError } from "./content-error.ts";
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
