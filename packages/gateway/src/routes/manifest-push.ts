import { type Catalog, type Change, manifestValueOf, type TagCondition } from "@meridian/catalog";
import {
  type Digest,
  type DigestAlgorithm,
  digestAlgorithm,
  digestOf,
  isContentError,
  type Manifest,
  parseManifest,
  parseReference,
  parseTag,
} from "@meridian/oci";
import type { Principal } from "@meridian/policy";
import type { recordV1 } from "@meridian/wire";
import { type Access, repositoryNeed } from "../access.ts";
import type { AnswerHeaders } from "../answer.ts";
import type { CommitRecords } from "../commit-records.ts";
import { entityTag, preconditionFailed, tagCondition } from "../conditional.ts";
import { type CopyKeeper, holderChanges, type StoredBlob } from "../copy-keeper.ts";
import type { Durability } from "../durability.ts";
import type { Exchange } from "../exchange.ts";
import type { FindContent } from "../find-content.ts";
import type { Handler } from "../handler.ts";
import type { ManifestBytes } from "../manifest-bytes.ts";
import { parseQuery } from "../query.ts";
import { Refusal } from "../refusal.ts";
import { readBody } from "../request-body.ts";
import type { TagHome } from "../tag-home.ts";

interface ManifestPushParts {
  readonly access: Access;
  readonly answers: AnswerHeaders;
  readonly catalog: Catalog;
  readonly find: FindContent;
  readonly keeper: CopyKeeper;
  readonly commit: CommitRecords;
  readonly manifests: ManifestBytes;
  readonly durability: Durability;
  readonly tagHome: TagHome;
  readonly maxManifestBytes: number;
  /** Takes manifests although the repository lacks what they reference. */
  readonly sparse: boolean;
}

/** More tags in one push are refused. */
const MAX_TAGS = 100;

/**
 * `PUT /v2/<name>/manifests/<reference>` (OCI distribution-spec, end-7), with `?tag=` for tags beside a digest, and
 * If-Match or If-None-Match on the tag. Bytes first, then all records in one commit: nothing is ever half visible.
 */
export function pushManifest(parts: ManifestPushParts): Handler {
  return async (exchange, { name, reference }) => {
    const principal = await parts.access.admit(exchange, repositoryNeed(name, "push"));
    const wanted = readTarget(exchange, reference);
    const sites = parts.durability.require(name);
    const isElsewhere = wanted.tags.length > 0 && parts.tagHome.isElsewhere(name);
    // What this site knows of a tag that another decides about may be old.
    if (!isElsewhere) requireCondition(name, wanted, parts.catalog);
    const bytes = await readBody(exchange, parts.maxManifestBytes);
    const manifest = parseManifest(bytes, exchange.header("content-type"));
    const digest = digestOf(bytes, wanted.algorithm);
    if (wanted.digest !== undefined && wanted.digest !== digest) {
      throw new Refusal("DIGEST_INVALID", `the manifest sent has the digest ${digest}`, {
        detail: { sent: digest, asked: wanted.digest },
      });
    }
    const isThere = isElsewhere && namesAlready(name, digest, wanted, parts.catalog);
    if (isElsewhere && !isThere && (await parts.tagHome.passedOn(exchange, name, bytes))) return;
    const absent = await checkReferences(name, manifest, parts);
    parts.catalog.pins.hold(digest);
    const stored = await parts.keeper.store(bytes, digest);
    const value = manifestValueOf(manifest, bytes.byteLength, absent);
    const pushed: Push = {
      name,
      manifest,
      value,
      digest,
      size: bytes.byteLength,
      tags: wanted.tags,
      principal,
      stored,
    };
    const version = isThere ? parts.answers.version() : await commitPush(pushed, wanted, parts);
    // What did not fit into the record is known here from the bytes.
    if (parts.catalog.manifest(name, digest)?.value?.seeBytes) await parts.catalog.learnManifest(name, digest, value);
    parts.manifests.keep(digest, bytes);
    const held = sites === 1 ? [] : await parts.durability.wait(name, digest, sites);
    exchange.send(201, [...createdHeaders(pushed, version, parts.answers), ...durableHeaders(held)]);
  };
}

/** What the client wants the manifest to be called. */
interface Target {
  /** Absent when pushed by tag. */
  readonly digest?: Digest;
  readonly algorithm: DigestAlgorithm;
  readonly tags: readonly string[];
  readonly condition?: TagCondition;
}

function readTarget(exchange: Exchange, reference: string): Target {
  const asked = parseReference(reference);
  const more = parseQuery(exchange.query).getAll("tag").map(parseTag);
  const tags = [...new Set(asked.kind === "tag" ? [asked.tag, ...more] : more)];
  if (tags.length > MAX_TAGS)
    throw new Refusal("UNSUPPORTED", `more than ${MAX_TAGS} tags in one push`, { status: 414 });
  const condition = tagCondition(exchange);
  if (condition !== undefined && tags.length !== 1) {
    throw new Refusal("UNSUPPORTED", "If-Match and If-None-Match need exactly one tag", { status: 400 });
  }
  const digest = asked.kind === "digest" ? asked.digest : undefined;
  return { digest, algorithm: digest === undefined ? "sha256" : digestAlgorithm(digest), tags, condition };
}

/** Refuses before the body is read what the view already refuses; the commit decides. */
function requireCondition(name: string, { condition, tags }: Target, catalog: Catalog): void {
  if (condition === undefined) return;
  const current = catalog.tag(name, tags[0]!)?.digest;
  const holds = condition.ifMatch === undefined ? current === undefined : current === condition.ifMatch;
  if (!holds) throw preconditionFailed(tags[0]!, current);
}

/** True when the push would change nothing: it is answered here, with or without the home of the tags. */
function namesAlready(name: string, digest: Digest, { condition, tags }: Target, catalog: Catalog): boolean {
  const isNamed = tags.every((tag) => catalog.tag(name, tag)?.digest === digest);
  return condition === undefined && isNamed && catalog.manifest(name, digest) !== undefined;
}

/** What the repository lacks of it: nothing, unless the registry is sparse. @throws Refusal MANIFEST_BLOB_UNKNOWN, or 503. */
async function checkReferences(
  name: string,
  manifest: Manifest,
  { find, sparse }: ManifestPushParts,
): Promise<ReadonlySet<Digest> | undefined> {
  const required = requiredDigests(manifest);
  if (sparse) return await find.absentOf(name, required);
  await find.requireAll(name, required);
  return undefined;
}

/** Config, layers and children, each once; foreign layers are never required, nor is a subject. */
function requiredDigests(manifest: Manifest): Digest[] {
  return [
    ...new Set(manifest.references.filter(({ role }) => role !== "foreign").map(({ descriptor }) => descriptor.digest)),
  ];
}

interface Push {
  readonly name: string;
  readonly manifest: Manifest;
  readonly value: recordV1.ManifestValue;
  readonly digest: Digest;
  readonly size: number;
  readonly tags: readonly string[];
  readonly principal: Principal;
  readonly stored: StoredBlob;
}

async function commitPush(
  push: Push,
  { condition, tags }: Target,
  { commit, catalog, tagHome }: ManifestPushParts,
): Promise<string> {
  const write = (): Promise<string> => commit(pushChanges(push, catalog), condition);
  try {
    return await (tags.length === 0 ? write() : tagHome.decide(push.name, write));
  } catch (error) {
    if (isContentError(error, "precondition"))
      throw preconditionFailed(tags[0] ?? "", catalog.tag(push.name, tags[0] ?? "")?.digest);
    throw error;
  }
}

function pushChanges(
  { name, manifest, value, digest, size, tags, principal, stored }: Push,
  catalog: Catalog,
): Change[] {
  const who = principal.name ?? "anonymous";
  const { mediaType } = manifest;
  const created: Change[] = catalog.hasRepository(name) ? [] : [{ kind: "repository", repository: name, who }];
  return [
    ...created,
    ...holderChanges(stored),
    { kind: "manifest", repository: name, digest, value },
    ...tags.map((tag): Change => ({ kind: "tag", repository: name, tag, digest, mediaType, size, who })),
  ];
}

function createdHeaders(
  { name, manifest, digest, tags, stored }: Push,
  version: string,
  answers: AnswerHeaders,
): string[] {
  return [
    "Location",
    `/v2/${name}/manifests/${digest}`,
    "Docker-Content-Digest",
    digest,
    "ETag",
    entityTag(digest),
    "Content-Length",
    "0",
    ...answers.fixed,
    "Meridian-Version",
    version,
    "Meridian-Copies",
    String(stored.nodes.length),
    ...(manifest.subject === undefined ? [] : ["OCI-Subject", manifest.subject.digest]),
    ...tags.flatMap((tag) => ["OCI-Tag", tag]),
  ];
}

function durableHeaders(sites: readonly string[]): string[] {
  return sites.length === 0 ? [] : ["Meridian-Durable-Sites", sites.join(",")];
}
