import { createHash, type Hash } from "node:crypto";
import { ContentError } from "./content-error.ts";

/** The registered digest algorithms (OCI image-spec, descriptor.md, "Registered algorithms"). */
export type DigestAlgorithm = "sha256" | "sha512";

/** A validated digest string, `<algorithm>:<lower-case hex>`. Made only by {@link parseDigest} and its siblings. */
export type Digest = string & { readonly __brand: "Digest" };

const HASH_BYTES = { sha256: 32, sha512: 64 } as const;
const PATTERN = /^(?:sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})$/;

/** Returns the digest, or undefined when the text is not a digest of a registered algorithm. */
export function tryParseDigest(text: string): Digest | undefined {
  return PATTERN.test(text) ? (text as Digest) : undefined;
}

/** @throws ContentError `invalid` when the text is not a digest of a registered algorithm. */
export function parseDigest(text: string): Digest {
  const digest = tryParseDigest(text);
  if (digest === undefined) throw new ContentError("invalid", `not a sha256 or sha512 digest: ${text.slice(0, 200)}`);
  return digest;
}

export function digestAlgorithm(digest: Digest): DigestAlgorithm {
  return digest.slice(0, 6) as DigestAlgorithm;
}

/** The lower-case hex after the colon. */
export function digestHex(digest: Digest): string {
  return digest.slice(7);
}

/** The raw hash. */
export function digestBytes(digest: Digest): Uint8Array {
  return Buffer.from(digest.slice(7), "hex");
}

/** @throws ContentError `invalid` when the hash's length does not fit the algorithm. */
export function digestFromBytes(algorithm: DigestAlgorithm, hash: Uint8Array): Digest {
  if (hash.byteLength !== HASH_BYTES[algorithm]) {
    throw new ContentError("invalid", `${hash.byteLength} bytes are no ${algorithm} hash`);
  }
  return `${algorithm}:${Buffer.from(hash.buffer, hash.byteOffset, hash.byteLength).toString("hex")}` as Digest;
}

/** The digest of these bytes; sha256 unless told otherwise. */
export function digestOf(bytes: Uint8Array | string, algorithm: DigestAlgorithm = "sha256"): Digest {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest("hex")}` as Digest;
}

/** Hashes bytes as they pass. */
export class Digester {
  readonly algorithm: DigestAlgorithm;
  readonly #hash: Hash;

  constructor(algorithm: DigestAlgorithm = "sha256") {
    this.algorithm = algorithm;
    this.#hash = createHash(algorithm);
  }

  update(chunk: Uint8Array): void {
    this.#hash.update(chunk);
  }

  /** The digest of what has passed so far; more may follow. */
  current(): Digest {
    return `${this.algorithm}:${this.#hash.copy().digest("hex")}` as Digest;
  }
}
