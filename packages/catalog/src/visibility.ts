import type { OrderedTransaction } from "@meridian/keyvalue";
import type { Digest } from "@meridian/oci";
import { recordV1 } from "@meridian/wire";
import { findLink, isLinked, isManifestVisible, manifestReferences } from "./lookups.ts";
import type { ViewChanges } from "./view-changes.ts";
import {
  encodeLiveTag,
  encodeNamed,
  liveTagKey,
  type NamedTag,
  NamerRole,
  namerKey,
  referrerKey,
} from "./view-layout.ts";
import { fromWireDigest } from "./wire-digest.ts";

/** One row that a visible manifest causes. */
interface Edge {
  readonly row: Uint8Array;
  /** What the row names; absent for a referrer's row, which makes nothing visible. */
  readonly names?: { readonly digest: Digest; readonly role: NamerRole };
}

type Edges = ReadonlyMap<string, Edge>;

const NO_EDGES: Edges = new Map();
const EMPTY = new Uint8Array(0);

/**
 * Keeps the rows of names in step with the registers: visibility flows down, from tags to manifests to what they
 * reference. Digests cannot form a cycle, so taking away what named a manifest always reaches the bottom.
 */
export class Visibility {
  readonly #tx: OrderedTransaction;
  readonly #changes: ViewChanges;
  /** Names to write or remove; a list, not recursion, so that indexes in indexes cannot exhaust the stack. */
  readonly #pending: Array<() => void> = [];

  constructor(tx: OrderedTransaction, changes: ViewChanges) {
    this.#tx = tx;
    this.#changes = changes;
  }

  /** Moves a tag's name from one digest to another; `undefined` stands for no digest. */
  setTag(
    repository: string,
    tag: string,
    { old, now, origin }: { old: Digest | undefined; now: NamedTag | undefined; origin: string },
  ): void {
    if (now !== undefined) {
      this.#tx.put(liveTagKey(repository, tag), encodeLiveTag(now));
      this.#name(
        repository,
        { digest: now.digest, role: NamerRole.tag },
        { namer: tag, row: encodeNamed(now), origin },
      );
    } else {
      this.#tx.delete(liveTagKey(repository, tag));
    }
    if (old !== undefined && old !== now?.digest) {
      this.#name(repository, { digest: old, role: NamerRole.tag }, { namer: tag, row: undefined, origin });
    }
    this.#settle();
  }

  /** Does `write`, which may change whether the link lives, and nothing else. */
  aroundLink(repository: string, digest: Digest, origin: string, write: () => void): void {
    const was = isLinked(this.#tx, repository, digest);
    write();
    this.#changes.digests.add(`${repository} ${digest}`);
    this.#tellLink(repository, digest, { was, origin });
  }

  /** Does `write`, which may change whether the manifest is visible and what it references, and carries that on. */
  aroundManifest(repository: string, digest: Digest, origin: string, write: () => void): void {
    this.#around(repository, digest, origin, write);
    this.#settle();
  }

  #settle(): void {
    for (let next = this.#pending.shift(); next !== undefined; next = this.#pending.shift()) {
      next();
    }
  }

  #around(repository: string, digest: Digest, origin: string, write: () => void): void {
    const wasVisible = isManifestVisible(this.#tx, repository, digest);
    const wasLinked = wasVisible || isLinked(this.#tx, repository, digest);
    const before = wasVisible ? this.#edges(repository, digest) : NO_EDGES;
    write();
    this.#changes.digests.add(`${repository} ${digest}`);
    const visible = isManifestVisible(this.#tx, repository, digest);
    const after = visible ? this.#edges(repository, digest) : NO_EDGES;
    if (visible !== wasVisible) {
      this.#changes.events.push({ kind: "manifest", repository, digest, visible, origin });
    }
    this.#tellLink(repository, digest, { was: wasLinked, origin });
    this.#replace(repository, digest, { before, after, origin });
  }

  #replace(
    repository: string,
    manifest: Digest,
    { before, after, origin }: { before: Edges; after: Edges; origin: string },
  ): void {
    for (const [key, { names, row }] of after) {
      const known = before.get(key)?.row;
      if (known !== undefined && Buffer.compare(known, row) === 0) {
        continue;
      }
      if (names === undefined) {
        this.#tx.put(key, row);
      } else {
        this.#pending.push(() => this.#name(repository, names, { namer: manifest, row, origin }));
      }
    }
    for (const [key, { names }] of before) {
      if (after.has(key)) {
        continue;
      }
      if (names === undefined) {
        this.#tx.delete(key);
      } else {
        this.#pending.push(() => this.#name(repository, names, { namer: manifest, row: undefined, origin }));
      }
    }
  }

  /** Writes or removes one name of a digest, and carries on what becomes of the digest. */
  #name(
    repository: string,
    { digest, role }: { digest: Digest; role: NamerRole },
    { namer, row, origin }: { namer: string; row: Uint8Array | undefined; origin: string },
  ): void {
    const key = namerKey(repository, digest, role, namer);
    const write = (): void => {
      if (row === undefined) {
        this.#tx.delete(key);
      } else {
        this.#tx.put(key, row);
      }
    };
    if (role === NamerRole.blob) {
      // Named as a blob it becomes no manifest: what it references, if it is one, stays as it is.
      this.aroundLink(repository, digest, origin, write);
    } else {
      this.#around(repository, digest, origin, write);
    }
  }

  #edges(repository: string, digest: Digest): Edges {
    const known = manifestReferences(this.#tx, repository, digest);
    if (known === undefined) {
      return NO_EDGES;
    }
    const edges = new Map<string, Edge>();
    for (const { digest: wire, size, mediaType, role } of known.value.references) {
      if (role === recordV1.ReferenceRole.FOREIGN) {
        continue;
      }
      const names = {
        digest: fromWireDigest(wire),
        role: role === recordV1.ReferenceRole.CHILD ? NamerRole.child : NamerRole.blob,
      };
      const row = encodeNamed({ size: Number(size), site: known.site, mediaType });
      edges.set(namerKey(repository, names.digest, names.role, digest), { row, names });
    }
    if (known.value.subject !== undefined) {
      const subject = fromWireDigest(known.value.subject.digest);
      edges.set(referrerKey(repository, subject, digest), { row: EMPTY });
    }
    return edges;
  }

  #tellLink(repository: string, digest: Digest, { was, origin }: { was: boolean; origin: string }): void {
    const visible = isLinked(this.#tx, repository, digest);
    if (visible !== was) {
      const size = findLink(this.#tx, repository, digest)?.size ?? 0;
      this.#changes.events.push({ kind: "link", repository, digest, size, visible, origin });
    }
  }
}
