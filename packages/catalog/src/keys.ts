import { hash } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { ContentError, type Digest } from "@meridian/oci";
import { recordV1 } from "@meridian/wire";
import { readingId } from "./hlc.ts";
import { fromWireDigest, toWireDigest } from "./wire-digest.ts";

/**
 * The names of one register, in both places where it is kept:
 *
 *     log subject                                             view key
 *     m.<site>.tag.<h(repository)>.<h(tag)>                   rt <repository> <tag>
 *     m.<site>.manifest.<h(repository)>.<h(digest)>           rm <repository> <digest>
 *     m.<site>.link.<h(repository)>.<h(digest)>               rl <repository> <digest>
 *     m.<site>.blob.<h(digest)>.<h(node)>                     rb <digest> <node>
 *     m.<site>.repository.<h(repository)>                     rr <repository>
 *     m.<site>.history.<h(repository)>.<h(tag)>.<h(reading)>  none: folds leave the history out
 *
 * `<site>` owns the log; h is the first 128 bits of SHA-256 in lower-case base32.
 */
export interface RegisterName {
  readonly kind: RegisterKind;
  /** What identifies it inside its kind. */
  readonly parts: readonly string[];
}

/** The kinds of registers; a letter each in the view. */
export const REGISTER_LETTERS = {
  tag: "t",
  manifest: "m",
  link: "l",
  blob: "b",
  repository: "r",
  history: "",
} as const;
export type RegisterKind = keyof typeof REGISTER_LETTERS;

/** Stands between the parts of a view key: smaller than any character of a name, so that keys sort as the names do. */
export const SEPARATOR = " ";

/**
 * The name of a record's register; undefined for a kind that this version does not know.
 * @throws ContentError `invalid` when the key is not well-formed.
 */
export function registerName(key: recordV1.Key | undefined): RegisterName | undefined {
  const kind = key?.kind;
  switch (kind?.case) {
    case "tag":
      return { kind: "tag", parts: [name(kind.value.repository), name(kind.value.tag)] };
    case "manifest":
      return { kind: "manifest", parts: [name(kind.value.repository), fromWireDigest(kind.value.digest)] };
    case "link":
      return { kind: "link", parts: [name(kind.value.repository), fromWireDigest(kind.value.digest)] };
    case "blobAtNode":
      return { kind: "blob", parts: [fromWireDigest(kind.value.digest), name(kind.value.node)] };
    case "repository":
      return { kind: "repository", parts: [name(kind.value)] };
    case "history":
      return { kind: "history", parts: [name(kind.value.repository), name(kind.value.tag), reading(kind.value.hlc)] };
    default:
      return undefined;
  }
}

/** The register's key in the view; undefined for the history, which no view holds. */
export function viewKey({ kind, parts }: RegisterName): string | undefined {
  return kind === "history" ? undefined : `r${REGISTER_LETTERS[kind]}${SEPARATOR}${parts.join(SEPARATOR)}`;
}

const KINDS: ReadonlyMap<string, RegisterKind> = new Map(
  Object.entries(REGISTER_LETTERS)
    .filter(([, letter]) => letter !== "")
    .map(([kind, letter]) => [`r${letter}`, kind as RegisterKind]),
);

/**
 * The register that a view has at the key.
 * @throws ContentError `invalid` for what is no view's key of a register.
 */
export function registerNameOf(key: string): RegisterName {
  const [letters = "", ...parts] = key.split(SEPARATOR);
  const kind = KINDS.get(letters);
  if (kind === undefined || parts.length === 0) throw new ContentError("invalid", `no register: ${key.slice(0, 100)}`);
  return { kind, parts };
}

/** The register's subject in the log of a site. */
export function subjectOf(site: string, { kind, parts }: RegisterName): string {
  return `m.${site}.${kind}.${parts.map(hashed).join(".")}`;
}

/** What the subjects of a tag's history in the log of a site begin with. */
export function historyPrefix(site: string, repository: string, tag: string): string {
  return `m.${site}.history.${hashed(repository)}.${hashed(tag)}.`;
}

/** The kind in a subject; undefined when it names no register: a session, or what a later version writes. */
export function subjectKind(subject: string): RegisterKind | undefined {
  const kind = subject.split(".", 3)[2] ?? "";
  return Object.hasOwn(REGISTER_LETTERS, kind) ? (kind as RegisterKind) : undefined;
}

export function tagKey(repository: string, tag: string): recordV1.Key {
  return create(recordV1.KeySchema, { kind: { case: "tag", value: { repository, tag } } });
}

export function manifestKey(repository: string, digest: Digest): recordV1.Key {
  const value = { repository, digest: toWireDigest(digest) };
  return create(recordV1.KeySchema, { kind: { case: "manifest", value } });
}

export function linkKey(repository: string, digest: Digest): recordV1.Key {
  return create(recordV1.KeySchema, { kind: { case: "link", value: { repository, digest: toWireDigest(digest) } } });
}

export function blobAtNodeKey(digest: Digest, node: string): recordV1.Key {
  return create(recordV1.KeySchema, { kind: { case: "blobAtNode", value: { digest: toWireDigest(digest), node } } });
}

export function repositoryKey(repository: string): recordV1.Key {
  return create(recordV1.KeySchema, { kind: { case: "repository", value: repository } });
}

export function historyKey(repository: string, tag: string, hlc: recordV1.Hlc): recordV1.Key {
  return create(recordV1.KeySchema, { kind: { case: "history", value: { repository, tag, hlc } } });
}

function name(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not get in
  if (text === "" || text.length > 512 || /[\u0000-\u0020\u007f]/.test(text)) {
    throw new ContentError("invalid", `a record with a name that cannot be: ${JSON.stringify(text.slice(0, 100))}`);
  }
  return text;
}

function reading(hlc: recordV1.Hlc | undefined): string {
  if (hlc === undefined) {
    throw new ContentError("invalid", "a history record without its reading");
  }
  return readingId(hlc);
}

const BASE32 = "abcdefghijklmnopqrstuvwxyz234567";

function hashed(part: string): string {
  const bytes = hash("sha256", part, "buffer");
  let text = "";
  let bits = 0;
  let pending = 0;
  for (let index = 0; index < 16; index++) {
    pending = (pending << 8) | (bytes[index] ?? 0);
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += BASE32[(pending >> bits) & 31];
      pending &= (1 << bits) - 1;
    }
  }
  return text + BASE32[(pending << (5 - bits)) & 31];
}
