import type { OrderedReader } from "@meridian/keyvalue";
import { type Digest, tryParseDigest } from "@meridian/oci";
import { findRecord, firstNamer, manifestReferences, namers } from "./lookups.ts";
import { isVisible, readStanding, type Standing } from "./standing.ts";
import { NamerRole, under } from "./view-layout.ts";

/** A link that is live, and that nothing visible needs. */
export interface LoneLink {
  readonly repository: string;
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
  /** The site of its put: that which deletes it. */
  readonly site: string;
}

/** A visible manifest that only belonged to another one, which was deleted: a signature, an SBOM, an attestation. */
export interface OrphanManifest {
  readonly repository: string;
  readonly digest: Digest;
  readonly size: number;
  readonly subject: Digest;
  /** The tag that attached it to its subject; absent for one that names the subject itself. */
  readonly tag?: string;
  /** The site of its put, or of its tag's. */
  readonly site: string;
}

/** What was found among a bounded number of rows, and where to go on; `next` is absent at the end. */
export interface Scanned<T> {
  readonly items: readonly T[];
  readonly next?: string;
}

/** What the view shows of what may go. Everything is synchronous: a page is a short piece of work. */
export interface Collectable {
  /** Lone links among the next `rows` linked digests; begins at the first when `from` is absent. */
  loneLinks(options: { readonly from?: string; readonly rows: number }): Scanned<LoneLink>;
  /** True while the repository links the digest and nothing visible there needs it. */
  isLone(repository: string, digest: Digest): boolean;
  /** Orphans among the next `rows` referrers of all repositories. */
  orphanReferrers(options: { readonly from?: string; readonly rows: number }): Scanned<OrphanManifest>;
  /** Orphans of the repository by tags like `sha256-<hex>.sig`. */
  orphanAttachments(repository: string): OrphanManifest[];
  /** True while it is one. */
  isOrphan(orphan: OrphanManifest): boolean;
  /** Up to `n` visible manifests, of one repository or all, of which nobody knows what they reference: what they need cannot be told. */
  unread(options: { readonly repository?: string; readonly n: number }): { repository: string; digest: Digest }[];
}

/** Reads a view for its collection. */
export function collectableOf(view: OrderedReader): Collectable {
  return {
    loneLinks: ({ from, rows }) =>
      scan(view, { prefix: "d ", from, rows }, (repository, digest) =>
        isLone(view, repository, digest) ? loneLink(view, repository, digest) : undefined,
      ),
    isLone: (repository, digest) => isLone(view, repository, digest),
    orphanReferrers: ({ from, rows }) =>
      scan(view, { prefix: "s ", from, rows }, (repository, subject, manifest) =>
        orphan(view, { repository, subject, digest: manifest as Digest }),
      ),
    orphanAttachments: (repository) => [...attachments(view, repository)],
    isOrphan: ({ repository, subject, digest, tag }) =>
      orphan(view, { repository, subject, digest, tag }) !== undefined,
    unread: ({ repository, n }) => {
      const bounds = under(repository === undefined ? "y " : `y ${repository} `);
      return Array.from(view.range({ ...bounds, limit: n }), ([key]) => {
        const [, where = "", digest = ""] = key.split(" ");
        return { repository: where, digest: digest as Digest };
      });
    },
  };
}

/** Goes on behind the row that `from` names. */
function scan<T>(
  view: OrderedReader,
  { prefix, from, rows }: { readonly prefix: string; readonly from?: string | undefined; readonly rows: number },
  look: (repository: string, digest: Digest, third: string) => T | undefined,
): Scanned<T> {
  const { start, end } = under(prefix);
  const items: T[] = [];
  let seen = 0;
  let last = "";
  for (const [key] of view.range({ start: from === undefined ? start : `${from}\0`, end, limit: rows })) {
    seen += 1;
    last = key;
    const [, repository = "", digest = "", third = ""] = key.split(" ");
    const found = look(repository, digest as Digest, third);
    if (found !== undefined) items.push(found);
  }
  return seen < rows ? { items } : { items, next: last };
}

/** Named by nothing, not even by one that was pushed without it. */
function isLone(view: OrderedReader, repository: string, digest: Digest): boolean {
  const standing = readStanding(view, repository, digest);
  return isByLinkOnly(standing) && firstNamer(view, repository, digest) === undefined;
}

function isByLinkOnly(standing: Standing): boolean {
  return standing.link && standing.blobs === 0 && !isVisible(standing);
}

function loneLink(view: OrderedReader, repository: string, digest: Digest): LoneLink | undefined {
  const put = findRecord(view, `rl ${repository} ${digest}`)?.record.put;
  if (put?.value.case !== "link") return undefined;
  return { repository, digest, size: Number(put.value.value.size), site: put.hlc?.site ?? "" };
}

/** True when the subject was a manifest of the repository, and was deleted. One that never came is still waited for. */
function wasDeleted(view: OrderedReader, repository: string, subject: Digest): boolean {
  return (
    findRecord(view, `rm ${repository} ${subject}`) !== undefined && !isVisible(readStanding(view, repository, subject))
  );
}

const ATTACHMENT = /^(sha256|sha512)-([0-9a-f]+)(?:\.(?:sig|att|sbom))?$/;

/** The digest of the manifest that the tag attaches something to (cosign, and the specification's fallback for referrers); undefined for any other tag. */
export function attachmentSubject(tag: string): Digest | undefined {
  const match = ATTACHMENT.exec(tag);
  return match === null ? undefined : tryParseDigest(`${match[1]}:${match[2]}`);
}

function* attachments(view: OrderedReader, repository: string): Iterable<OrphanManifest> {
  for (const algorithm of ["sha256", "sha512"]) {
    const prefix = `t ${repository} ${algorithm}-`;
    for (const [key] of view.range({ start: prefix, end: `t ${repository} ${algorithm}.` })) {
      const tag = key.slice(`t ${repository} `.length);
      const subject = attachmentSubject(tag);
      const record = subject && findRecord(view, `rt ${repository} ${tag}`)?.record;
      if (subject === undefined || record?.put?.value.case !== "tag") continue;
      const found = firstTagged(view, repository, tag);
      const one = found && orphan(view, { repository, subject, digest: found, tag });
      if (one !== undefined) yield one;
    }
  }
}

function firstTagged(view: OrderedReader, repository: string, tag: string): Digest | undefined {
  const row = view.get(`t ${repository} ${tag}`);
  return row === undefined ? undefined : (Buffer.from(row).toString("utf8").split(" ", 1)[0] as Digest);
}

/** Undefined when its subject is there or still to come, or when something else needs it: another tag, an index. */
function orphan(
  view: OrderedReader,
  { repository, subject, digest, tag }: Pick<OrphanManifest, "repository" | "subject" | "digest" | "tag">,
): OrphanManifest | undefined {
  if (!wasDeleted(view, repository, subject)) return undefined;
  const standing = readStanding(view, repository, digest);
  if (!isVisible(standing) || standing.children > 0) return undefined;
  if (tag !== undefined && firstTagged(view, repository, tag) !== digest) return undefined;
  for (const { namer } of namers(view, repository, digest, { role: NamerRole.tag })) {
    const attachedTo = attachmentSubject(namer);
    if (attachedTo === undefined || !wasDeleted(view, repository, attachedTo)) return undefined;
  }
  for (const _index of namers(view, repository, digest, { role: NamerRole.absent, limit: 1 })) return undefined;
  const known = manifestReferences(view, repository, digest);
  const tagged = tag === undefined ? undefined : findRecord(view, `rt ${repository} ${tag}`)?.record;
  const site = tagged?.put?.hlc?.site ?? known?.site ?? "";
  const size = Number(known?.value.size ?? 0n);
  return { repository, digest, size, subject, site, ...(tag !== undefined && { tag }) };
}
