import { create } from "@bufbuild/protobuf";
import { ContentError, type Digest, digestAlgorithm, digestBytes, digestFromBytes } from "@meridian/oci";
import { recordV1 } from "@meridian/wire";

const { SHA256, SHA512 } = recordV1.DigestAlgorithm;

/** The digest as records carry it. */
export function toWireDigest(digest: Digest): recordV1.Digest {
  const algorithm = digestAlgorithm(digest) === "sha256" ? SHA256 : SHA512;
  return create(recordV1.DigestSchema, { algorithm, hash: digestBytes(digest) });
}

/** Undefined when it is absent, of an algorithm that this version does not know, or of a wrong length. */
export function tryFromWireDigest(digest: recordV1.Digest | undefined): Digest | undefined {
  try {
    return fromWireDigest(digest);
  } catch {
    return undefined;
  }
}

/** @throws ContentError `invalid` when it is absent, of an unknown algorithm or of a wrong length. */
export function fromWireDigest(digest: recordV1.Digest | undefined): Digest {
  if (digest?.algorithm === SHA256) {
    return digestFromBytes("sha256", digest.hash);
  }
  if (digest?.algorithm === SHA512) {
    return digestFromBytes("sha512", digest.hash);
  }
  throw new ContentError(
    "invalid",
    `a record with ${digest === undefined ? "no digest" : "a digest of an unknown algorithm"}`,
  );
}
