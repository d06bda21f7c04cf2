import type { OrderedTransaction } from "@meridian/keyvalue";
import type { Digest } from "@meridian/oci";
import { recordV1 } from "@meridian/wire";
import { compareHlc, readingId } from "./hlc.ts";
import { type RegisterName, registerName, viewKey } from "./keys.ts";
import { knownManifest, manifestReferences } from "./lookups.ts";
import { decodeRecord, encodeRecord, isAlive, type LiveRecord, mergeRecords, seenReadings } from "./merge.ts";
import { type ConflictingPut, noChanges, type ViewChanges } from "./view-changes.ts";
import {
  decodeRegisterRow,
  encodeRegisterRow,
  isLiveRow,
  learnedKey,
  liveCountKey,
  liveTagKey,
  textOf,
} from "./view-layout.ts";
import { Visibility } from "./visibility.ts";
import { fromWireDigest } from "./wire-digest.ts";

/** Merges records into the view inside one transaction, and keeps what is visible in step. */
export class ViewUpdate {
  readonly changes: ViewChanges = noChanges();
  readonly #tx: OrderedTransaction;
  readonly #visibility: Visibility;
  readonly #liveCounts = new Map<string, number>();

  constructor(tx: OrderedTransaction) {
    this.#tx = tx;
    this.#visibility = new Visibility(tx, this.changes);
  }

  /**
   * Merges a record. `ownSequence` is its place in this site's own log; absent for a record of another origin.
   * `traceparent` is the sampled trace that wrote it, `canonical` its bytes as encodeRecord would make them.
   * A kind that this version does not know, and the history, change nothing.
   * @throws ContentError `invalid` for a record with a malformed key or value.
   */
  apply(
    incoming: recordV1.Record,
    details: { ownSequence?: number; origin: string; traceparent?: string; canonical?: Uint8Array | undefined },
  ): void {
    const { ownSequence, origin, traceparent, canonical } = details;
    const name = registerName(incoming.key);
    const key = name === undefined ? undefined : viewKey(name);
    if (name === undefined || key === undefined) {
      return;
    }
    requireValue(name, incoming);
    const stored = this.#tx.get(key);
    const row = stored === undefined ? undefined : decodeRegisterRow(stored);
    const before = row === undefined ? undefined : decodeRecord(row.record);
    this.#noteConflict(name, before, incoming);
    const after = mergeRecords(before, incoming);
    const record = after === incoming && canonical !== undefined ? canonical : encodeRecord(after);
    const sequence = Math.max(ownSequence ?? 0, row?.sequence ?? 0);
    const same = row !== undefined && Buffer.compare(row.record, record) === 0;
    if (same && sequence === row.sequence) {
      return;
    }
    const live = isAlive(after);
    const write = (): void => this.#tx.put(key, encodeRegisterRow({ live, sequence, record }));
    if (same) {
      write();
      return;
    }
    this.#change({ name, before, after, write, origin: after.put?.hlc?.site ?? origin });
    const digest = name.kind === "link" || name.kind === "manifest" ? name.parts[1] : undefined;
    if (traceparent !== undefined && digest !== undefined) {
      this.changes.traces.set(digest, traceparent);
    }
    this.#count(name, Number(live) - Number(row?.live ?? false));
  }

  /** Remembers a manifest's references as its bytes say. */
  learnManifest(repository: string, digest: Digest, value: Uint8Array, origin: string): void {
    const row = learnedKey(repository, digest);
    const before = manifestReferences(this.#tx, repository, digest);
    this.#tx.put(row, value);
    const after = manifestReferences(this.#tx, repository, digest);
    const live = isLiveRow(this.#tx.get(`rm ${repository} ${digest}`));
    this.#visibility.setManifest(repository, digest, { live, before, after, origin });
  }

  /** Writes what was gathered. To be called last. */
  finish(): void {
    this.#visibility.finish();
    for (const [repository, added] of this.#liveCounts) {
      const key = liveCountKey(repository);
      const row = this.#tx.get(key);
      const count = Number(row === undefined ? 0 : textOf(row)) + added;
      if (count > 0) {
        this.#tx.put(key, Buffer.from(String(count)));
      } else if (row !== undefined) {
        this.#tx.delete(key);
      }
    }
  }

  #change(change: Change): void {
    const { name, after, write, origin } = change;
    const [first = "", second = ""] = name.parts;
    switch (name.kind) {
      case "tag":
        this.#changeTag(change, first, second);
        break;
      case "manifest":
        this.#changeManifest(change, first, second as Digest);
        break;
      case "link":
        write();
        this.#visibility.setLink(first, second as Digest, { live: isAlive(after), size: linkSize(after), origin });
        break;
      case "blob": {
        write();
        this.changes.holders.add(first);
        this.changes.events.push({ kind: "holder", digest: first as Digest, node: second, present: isPresent(after) });
        break;
      }
      default:
        write();
    }
  }

  #noteConflict({ kind, parts }: RegisterName, before: recordV1.Record | undefined, incoming: recordV1.Record): void {
    const conflict = kind === "tag" ? tagConflict(before, incoming) : undefined;
    if (conflict !== undefined) {
      this.changes.conflicts.push({ repository: parts[0] ?? "", tag: parts[1] ?? "", ...conflict });
    }
  }

  #changeTag({ before, after, write, origin }: Change, repository: string, tag: string): void {
    write();
    const old = tagValue(before);
    const now = tagValue(after);
    if (old === undefined && now === undefined) {
      return;
    }
    this.changes.tags.add(liveTagKey(repository, tag));
    this.#visibility.setTag(repository, tag, { old: old?.digest, now, origin });
    this.changes.events.push({ kind: "tag", repository, tag, digest: now?.digest, origin });
  }

  #changeManifest({ before, after, write, origin }: Change, repository: string, digest: Digest): void {
    const known = (record: recordV1.Record | undefined) => knownManifest(this.#tx, repository, digest, record);
    const was = known(before);
    write();
    const same = before?.put?.hlc !== undefined && after.put?.hlc === before.put.hlc;
    const is = same ? was : known(after);
    this.#visibility.setManifest(repository, digest, { live: isAlive(after), before: was, after: is, origin });
  }

  #count(name: RegisterName, added: number): void {
    const repository = name.parts[0];
    if (added !== 0 && name.kind !== "blob" && repository !== undefined) {
      this.#liveCounts.set(repository, (this.#liveCounts.get(repository) ?? 0) + added);
    }
  }
}

interface Change {
  readonly name: RegisterName;
  readonly before: recordV1.Record | undefined;
  readonly after: recordV1.Record;
  readonly write: () => void;
  readonly origin: string;
}

/** True when the node said that it holds the blob, and not that it is about to give it up. */
export function isPresent(record: recordV1.Record): boolean {
  const value = record.put?.value;
  return isAlive(record) && value?.case === "blobAtNode" && value.value.state === recordV1.BlobState.PRESENT;
}

/** What a live tag names; undefined for a dead one. */
export function tagValue(
  record: recordV1.Record | undefined,
): { digest: Digest; size: number; mediaType: string; site: string } | undefined {
  const put = record?.put;
  if (put?.value.case !== "tag" || !isAlive(record)) {
    return undefined;
  }
  const { digest, size, mediaType } = put.value.value;
  return { digest: fromWireDigest(digest), size: Number(size), mediaType, site: put.hlc?.site ?? "" };
}

/** Checks, before anything is written, what the update will read from the value: a bad record must change nothing. */
function requireValue({ kind }: RegisterName, { put }: recordV1.Record): void {
  if (kind === "tag" && put?.value.case === "tag") {
    fromWireDigest(put.value.value.digest);
  }
  if (kind === "manifest" && put?.value.case === "manifest") {
    for (const { digest } of put.value.value.references) {
      fromWireDigest(digest);
    }
    if (put.value.value.subject !== undefined) {
      fromWireDigest(put.value.value.subject.digest);
    }
  }
}

/** Two live puts of different sites that name different digests, of which the later had not seen the earlier. */
function tagConflict(
  before: recordV1.Record | undefined,
  incoming: recordV1.Record,
): { winner: ConflictingPut; loser: ConflictingPut } | undefined {
  if (!isAlive(before) || !isAlive(incoming) || before.put.hlc.site === incoming.put.hlc.site) {
    return undefined;
  }
  const order = compareHlc(before.put.hlc, incoming.put.hlc);
  const [winner, loser] = order > 0 ? [before, incoming] : [incoming, before];
  const lost = loser.put.hlc;
  const seen = seenReadings(winner).find(({ site }) => site === lost.site);
  const [won, of] = [conflictingPut(winner), conflictingPut(loser)];
  const isSeen = seen !== undefined && compareHlc(seen, lost) >= 0;
  return isSeen || won.digest === of.digest ? undefined : { winner: won, loser: of };
}

function conflictingPut({ put }: LiveRecord): ConflictingPut {
  const digest = fromWireDigest(put.value.case === "tag" ? put.value.value.digest : undefined);
  return { id: readingId(put.hlc), site: put.hlc.site, digest };
}

function linkSize({ put }: recordV1.Record): number {
  return put?.value.case === "link" ? Number(put.value.value.size) : 0;
}
