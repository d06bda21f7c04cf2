import { create, toBinary } from "@bufbuild/protobuf";
import type { OrderedReader } from "@meridian/keyvalue";
import { ContentError, type Digest } from "@meridian/oci";
import { recordV1 } from "@meridian/wire";
import type { Change, TagCondition } from "./catalog.ts";
import { collectableOf } from "./collectable.ts";
import * as keys from "./keys.ts";
import { findRecord, findTag, firstNamer, type Namer, namers } from "./lookups.ts";
import { isAbsent } from "./manifest-value.ts";
import { deleteRecord, type HistoryLine, historyRecord, putRecord } from "./register-changes.ts";
import { isLinked, isVisible, readStanding } from "./standing.ts";
import { NamerRole } from "./view-layout.ts";
import { tagValue } from "./view-update.ts";
import { toWireDigest } from "./wire-digest.ts";

/** Beyond this a manifest's references are left out of its record, in bytes: the rest of the record fits beside it. */
const MAX_VALUE_BYTES = 56 * 1024;

type Stamp = (after: bigint) => recordV1.Hlc;
type Seen = recordV1.Record | undefined;

/** One register that a commit writes. */
export interface Intent {
  readonly key: recordV1.Key;
  /** Undefined for a deletion. */
  readonly value?: recordV1.Put["value"];
  /** For a tag: what its history says. */
  readonly tag?: {
    readonly repository: string;
    readonly tag: string;
    readonly who: string;
    /** Absent for a deletion. */
    readonly named?: HistoryLine["named"];
    readonly restored?: boolean;
  };
}

/** The changes of a commit as registers, each once, as the view shows things now. */
export function planCommit(
  reader: OrderedReader,
  changes: readonly Change[],
  condition: TagCondition | undefined,
): Map<string, Intent> {
  const intents = new Map<string, Intent>();
  for (const change of changes) {
    checkCondition(reader, change, condition);
    for (const intent of intentsOf(reader, change)) {
      const key = viewKeyOf(intent.key);
      // A later change of the same register is the one that counts; it goes to the end.
      intents.delete(key);
      intents.set(key, intent);
    }
  }
  return intents;
}

/** The view's key for a register that a view holds. */
export function viewKeyOf(key: recordV1.Key): string {
  const name = keys.registerName(key);
  const found = name && keys.viewKey(name);
  if (found === undefined) {
    throw new ContentError("invalid", "a change of a register that no view holds");
  }
  return found;
}

/** @throws ContentError `precondition` when the tag of the change is not as the condition wants it. */
export function checkCondition(
  reader: OrderedReader,
  change: { readonly kind: string; readonly repository?: string; readonly tag?: string },
  condition: TagCondition | undefined,
): void {
  const { kind, repository, tag } = change;
  if (condition === undefined || repository === undefined || tag === undefined || !/^(delete-)?tag$/.test(kind)) {
    return;
  }
  const current = findTag(reader, repository, tag)?.digest;
  if (condition.ifMatch !== undefined && current !== condition.ifMatch) {
    const now = current === undefined ? "does not exist" : `names ${current}`;
    throw new ContentError("precondition", `tag ${tag} ${now}, not ${condition.ifMatch}`);
  }
  if (condition.ifNoneMatch === "*" && current !== undefined) {
    throw new ContentError("precondition", `tag ${tag} exists: it names ${current}`);
  }
}

/** What the intent writes: the change of the register, and the history of a tag. */
export function recordsOf(
  intent: Intent,
  { seen, stamp, after }: { seen: Seen; stamp: Stamp; after: bigint },
): { change: recordV1.Record; history?: recordV1.Record } {
  const { key, value, tag } = intent;
  const hlc = value !== undefined || tag !== undefined ? stamp(after) : undefined;
  const change = value === undefined || hlc === undefined ? deleteRecord(key, seen) : putRecord(key, value, seen, hlc);
  if (tag === undefined || hlc === undefined) {
    return { change };
  }
  const { repository, who, named, restored = false } = tag;
  const from = tagValue(seen)?.digest;
  return { change, history: historyRecord({ repository, tag: tag.tag, who, named, restored, hlc, from, seen }) };
}

function intentsOf(reader: OrderedReader, change: Change): Intent[] {
  switch (change.kind) {
    case "tag": {
      const { repository, tag, digest, mediaType, size, who, restored } = change;
      const value = create(recordV1.TagValueSchema, { digest: toWireDigest(digest), mediaType, size: BigInt(size) });
      return [
        {
          key: keys.tagKey(repository, tag),
          value: { case: "tag", value },
          tag: { repository, tag, who, named: { digest, mediaType, size }, restored },
        },
      ];
    }
    case "manifest": {
      const value = fitted(change.value);
      return [{ key: keys.manifestKey(change.repository, change.digest), value: { case: "manifest", value } }];
    }
    case "link": {
      const value = create(recordV1.LinkValueSchema, { size: BigInt(change.size) });
      return unlessLive(reader, {
        key: keys.linkKey(change.repository, change.digest),
        value: { case: "link", value },
      });
    }
    case "repository": {
      const value = create(recordV1.RepositoryValueSchema, { createdBy: change.who });
      return unlessLive(reader, { key: keys.repositoryKey(change.repository), value: { case: "repository", value } });
    }
    case "blob-at-node":
      return blobAtNode(reader, change);
    case "delete-tag":
      return deleteTag(reader, change);
    case "delete-manifest":
      return deleteManifest(reader, change);
    case "delete-repository": {
      const key = keys.repositoryKey(change.repository);
      return findRecord(reader, viewKeyOf(key))?.live ? [{ key }] : [];
    }
    case "delete-link":
      return deleteLink(reader, change);
    case "collect-link": {
      const { repository, digest } = change;
      return collectableOf(reader).isLone(repository, digest) ? [{ key: keys.linkKey(repository, digest) }] : [];
    }
  }
}

/** The value, without its references when they do not fit into a record: readers then look into the manifest's bytes. */
function fitted(value: recordV1.ManifestValue): recordV1.ManifestValue {
  const size = (candidate: recordV1.ManifestValue): number =>
    toBinary(recordV1.ManifestValueSchema, candidate).byteLength;
  if (size(value) <= MAX_VALUE_BYTES) {
    return value;
  }
  const sparse = value.references.some((reference) => isAbsent(value, reference));
  const short = { ...value, references: [], seeBytes: true, sparse };
  return size(short) <= MAX_VALUE_BYTES ? short : { ...short, annotations: {} };
}

function unlessLive(reader: OrderedReader, intent: Intent): Intent[] {
  return findRecord(reader, viewKeyOf(intent.key))?.live ? [] : [intent];
}

function blobAtNode(reader: OrderedReader, change: Extract<Change, { kind: "blob-at-node" }>): Intent[] {
  const { digest, node, size, state } = change;
  const key = keys.blobAtNodeKey(digest, node);
  const found = findRecord(reader, viewKeyOf(key));
  if (state === "absent") {
    return found?.live ? [{ key }] : [];
  }
  const { PRESENT, DRAINING } = recordV1.BlobState;
  const value = create(recordV1.BlobAtNodeValueSchema, {
    state: state === "present" ? PRESENT : DRAINING,
    size: BigInt(size),
  });
  const known = found?.live ? found.record.put?.value : undefined;
  const same = known?.case === "blobAtNode" && known.value.state === value.state && known.value.size === value.size;
  return same ? [] : [{ key, value: { case: "blobAtNode", value } }];
}

function deleteTag(reader: OrderedReader, { repository, tag, who }: Extract<Change, { kind: "delete-tag" }>): Intent[] {
  if (findTag(reader, repository, tag) === undefined) {
    throw new ContentError("not-found", `there is no tag ${tag} in ${repository}`);
  }
  return [{ key: keys.tagKey(repository, tag), tag: { repository, tag, who } }];
}

/** The manifest's own put and each tag that names it, every one by its own key. */
function deleteManifest(
  reader: OrderedReader,
  { repository, digest, who }: Extract<Change, { kind: "delete-manifest" }>,
): Intent[] {
  if (!isVisible(readStanding(reader, repository, digest))) {
    throw new ContentError("not-found", `there is no manifest ${digest} in ${repository}`);
  }
  for (const { namer } of indexesOf(reader, repository, digest)) {
    throw new ContentError("denied", `manifest ${digest} is part of index ${namer}: delete that first`);
  }
  const key = keys.manifestKey(repository, digest);
  const tags = Array.from(namers(reader, repository, digest, { role: NamerRole.tag }), ({ namer }) => namer);
  const own = findRecord(reader, viewKeyOf(key))?.live ? [{ key }] : [];
  return [...own, ...tags.map((tag) => ({ key: keys.tagKey(repository, tag), tag: { repository, tag, who } }))];
}

/** An index that names the manifest as its child, be it as one that it lacked when it was pushed. */
function* indexesOf(reader: OrderedReader, repository: string, digest: Digest): Iterable<Namer> {
  yield* namers(reader, repository, digest, { role: NamerRole.child, limit: 1 });
  yield* namers(reader, repository, digest, { role: NamerRole.absent, limit: 1 });
}

function deleteLink(reader: OrderedReader, { repository, digest }: Extract<Change, { kind: "delete-link" }>): Intent[] {
  const standing = readStanding(reader, repository, digest);
  if (!isLinked(standing)) {
    throw new ContentError("not-found", `there is no blob ${digest} in ${repository}`);
  }
  const namer = firstNamer(reader, repository, digest)?.namer;
  if (namer !== undefined || isVisible(standing)) {
    throw new ContentError("denied", `blob ${digest} is needed by ${namer ?? "its manifest"}: delete that first`);
  }
  return [{ key: keys.linkKey(repository, digest) }];
}
