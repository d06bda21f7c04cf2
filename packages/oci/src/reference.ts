import { type Digest, tryParseDigest } from "./digest.ts";
import { OciError } from "./errors.ts";

/** A valid repository name. Made only by {@link parseRepository} and {@link tryParseRepository}. */
export type RepositoryName = string & { readonly __brand: "RepositoryName" };

/** A valid tag. Made only by {@link parseTag} and {@link tryParseTag}. */
export type Tag = string & { readonly __brand: "Tag" };

/** What stands after `/manifests/`. */
export type Reference =
  | { readonly kind: "tag"; readonly tag: Tag }
  | { readonly kind: "digest"; readonly digest: Digest };

/** Clients that put host and name together take no more (distribution-spec, "Pulling manifests"). */
export const MAX_REPOSITORY_LENGTH = 255;

// distribution-spec v1.1, "Pulling manifests".
const REPOSITORY = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$/;
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;

/** Undefined when the text is not a repository name. */
export function tryParseRepository(text: string): RepositoryName | undefined {
  return text.length <= MAX_REPOSITORY_LENGTH && REPOSITORY.test(text) ? (text as RepositoryName) : undefined;
}

/** @throws OciError NAME_INVALID */
export function parseRepository(text: string): RepositoryName {
  const name = tryParseRepository(text);
  if (name !== undefined) return name;
  const reason =
    text.length > MAX_REPOSITORY_LENGTH
      ? `has ${text.length} characters, more than ${MAX_REPOSITORY_LENGTH}`
      : "must be lower-case letters and digits, joined by single ., _, __ or -, in parts separated by /";
  throw new OciError("NAME_INVALID", `invalid repository name: it ${reason}`, { detail: { name: shorten(text) } });
}

/** Undefined when the text is not a tag. */
export function tryParseTag(text: string): Tag | undefined {
  return TAG.test(text) ? (text as Tag) : undefined;
}

/** @throws OciError NAME_INVALID: not MANIFEST_INVALID, upon which clients would push again in another encoding. */
export function parseTag(text: string): Tag {
  const tag = tryParseTag(text);
  if (tag !== undefined) return tag;
  const rule = "1 to 128 letters, digits, ., _ or -, not beginning with . or -";
  throw new OciError("NAME_INVALID", `invalid tag: it must be ${rule}`, { detail: { tag: shorten(text) } });
}

/** Undefined when the text is neither a tag nor a digest. */
export function tryParseReference(text: string): Reference | undefined {
  const digest = tryParseDigest(text);
  if (digest !== undefined) return { kind: "digest", digest };
  const tag = tryParseTag(text);
  return tag === undefined ? undefined : { kind: "tag", tag };
}

/** @throws OciError DIGEST_INVALID when the text has a colon, as only digests have, else NAME_INVALID. */
export function parseReference(text: string): Reference {
  const reference = tryParseReference(text);
  if (reference !== undefined) return reference;
  if (!text.includes(":")) return { kind: "tag", tag: parseTag(text) };
  throw new OciError("DIGEST_INVALID", "not a sha256 or sha512 digest", { detail: { digest: shorten(text) } });
}

const ATTACHMENT = /^(sha256|sha512)-([a-f0-9]+)(?:\.(?:sig|att|sbom))?$/;

/**
 * The digest that a tag of the referrers fallback (`sha256-<hex>`) or of cosign (`….sig`, `….att`, `….sbom`) attaches
 * something to; undefined for every other tag. Source: distribution-spec, "Referrers Tag Schema".
 */
export function attachmentSubject(tag: string): Digest | undefined {
  const match = ATTACHMENT.exec(tag);
  return match === null ? undefined : tryParseDigest(`${match[1]}:${match[2]}`);
}

/** An image as users write it: `[host[:port]/]name[:tag][@digest]`. */
export interface ImageName {
  /** With its port, when it has one. */
  readonly host?: string;
  readonly repository: RepositoryName;
  readonly tag?: Tag;
  readonly digest?: Digest;
}

/** The first part is a host when it could not be part of a name: docker's rule. @throws OciError as the parsers do. */
export function parseImageName(text: string): ImageName {
  const [named = "", digestText, ...more] = text.split("@");
  if (more.length > 0) throw new OciError("DIGEST_INVALID", "more than one @ in an image name");
  const reference = digestText === undefined ? undefined : parseReference(digestText);
  if (reference?.kind === "tag") throw new OciError("DIGEST_INVALID", "what follows @ must be a digest");

  const slash = named.indexOf("/");
  const first = named.slice(0, Math.max(slash, 0));
  const hasHost = /[.:]/.test(first) || first === "localhost";
  const path = hasHost ? named.slice(slash + 1) : named;
  const colon = path.lastIndexOf(":");
  return {
    ...(hasHost && { host: first }),
    repository: parseRepository(colon < 0 ? path : path.slice(0, colon)),
    ...(colon >= 0 && { tag: parseTag(path.slice(colon + 1)) }),
    ...(reference !== undefined && { digest: reference.digest }),
  };
}

function shorten(text: string): string {
  return text.length > 300 ? `${text.slice(0, 300)}…` : text;
}
