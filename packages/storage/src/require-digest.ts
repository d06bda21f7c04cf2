import { ContentError, type Digest, digestAlgorithm, digestOf } from "@meridian/oci";

/** @throws ContentError `digest-mismatch` unless the content hashes to the digest. */
export function requireDigest(expected: Digest, content: Uint8Array): void {
  const digest = digestOf(content, digestAlgorithm(expected));
  if (digest !== expected) {
    throw new ContentError("digest-mismatch", `the ${content.byteLength} bytes hash to ${digest}, not to ${expected}`);
  }
}
