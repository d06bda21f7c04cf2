import type { OrderedTransaction } from "@meridian/keyvalue";
import type { Digest } from "@meridian/oci";
import { recordV1 } from "@meridian/wire";
import { type KnownManifest, manifestReferences } from "./lookups.ts";
import { areUnknown, isAbsent } from "./manifest-value.ts";
import { isLinked, isVisible, type Standing, Standings } from "./standing.ts";
import type { ViewChanges } from "./view-changes.ts";
import {
  encodeLiveTag,
  encodeNamed,
  linkerKey,
  liveTagKey,
  type Named,
  type NamedTag,
  NamerRole,
  namerKey,
  referrerKey,
  unreadKey,
} from "./view-layout.ts";
import { fromWireDigest } from "./wire-digest.ts";

/** One row that a visible manifest causes. */
interface Edge {
  readonly row: Uint8Array;
  /** What the row makes visible; absent for a referrer's row, and for that of something the repository lacked. */
  readonly names?: { readonly digest: Digest; readonly role: NamerRole; readonly size: number };
}

type Edges = ReadonlyMap<string, Edge>;

/** What changes about a digest: how it stands, and what is told of it. */
interface Shift {
  readonly repository: string;
  readonly digest: Digest;
  readonly change: (standing: Standing) => void;
  /** Told when it becomes linked. */
  readonly size: number;
  readonly origin: string;
  /** What the digest is known to reference, where that was looked up already. */
  readonly references?: { readonly known: KnownManifest | undefined };
}

const NO_EDGES: Edges = new Map();
const NOT_VISIBLE = Symbol("not visible");
const EMPTY = new Uint8Array(0);

/**
 * Keeps names and standings in step with the registers: visibility flows down, from tags to manifests to what they
 * reference. Digests cannot form a cycle, so taking away what named a manifest always reaches the bottom.
 */
export class Visibility {
  readonly #tx: OrderedTransaction;
  readonly #changes: ViewChanges;
  readonly #standings: Standings;
  /** Shifts to make; a list, not recursion, so that indexes in indexes cannot exhaust the stack. */
  readonly #pending: Shift[] = [];

  constructor(tx: OrderedTransaction, changes: ViewChanges) {
    this.#tx = tx;
    this.#changes = changes;
    this.#standings = new Standings(tx);
  }

  /** Moves a tag's name from one digest to another; `undefined` stands for no digest. */
  setTag(
    repository: string,
    tag: string,
    { old, now, origin }: { old: Digest | undefined; now: NamedTag | undefined; origin: string },
  ): void {
    const shift = (digest: Digest, by: number, size: number): void => {
      const change = (standing: Standing): void => {
        standing.tags += by;
      };
      this.#pending.push({ repository, digest, change, size, origin });
    };
    if (now === undefined) {
      this.#tx.delete(liveTagKey(repository, tag));
    } else {
      const namer = namerKey(repository, now.digest, NamerRole.tag, tag);
      // The rows are what is counted: a register that the view has lost is folded again over rows that it still has.
      const isNamed = old === now.digest || this.#tx.get(namer) !== undefined;
      this.#tx.put(liveTagKey(repository, tag), encodeLiveTag(now));
      this.#tx.put(namer, encodeNamed(now));
      shift(now.digest, isNamed ? 0 : 1, now.size);
    }
    if (old !== undefined && old !== now?.digest && this.#tx.delete(namerKey(repository, old, NamerRole.tag, tag))) {
      shift(old, -1, 0);
    }
    this.#settle();
  }

  /** The link's put lives or not. */
  setLink(
    repository: string,
    digest: Digest,
    { live, size, origin }: { live: boolean; size: number; origin: string },
  ): void {
    const change = (standing: Standing): void => {
      standing.link = live;
    };
    this.#pending.push({ repository, digest, change, size, origin });
    this.#settle();
  }

  /** The manifest's put lives or not, and `before` it was known to reference something else than `after`. */
  setManifest(
    repository: string,
    digest: Digest,
    parts: {
      live: boolean;
      before: KnownManifest | undefined;
      after: KnownManifest | undefined;
      origin: string;
    },
  ): void {
    const { live, before, after, origin } = parts;
    const standing = this.#standings.get(repository, digest);
    if (before !== after && isVisible(standing)) {
      this.#noteUnread(repository, digest, after);
      const edges = { before: edgesOf(repository, digest, before), after: edgesOf(repository, digest, after), origin };
      this.#replace(repository, edges);
    }
    const change = (changed: Standing): void => {
      changed.manifest = live;
    };
    const size = Number(after?.value.size ?? 0n);
    this.#pending.unshift({ repository, digest, change, size, origin, references: { known: after } });
    this.#settle();
  }

  /** Writes what was gathered. To be called last. */
  finish(): void {
    this.#standings.write();
  }

  #settle(): void {
    for (let index = 0; index < this.#pending.length; index++) {
      this.#shift(this.#pending[index]!);
    }
    this.#pending.length = 0;
  }

  #shift({ repository, digest, change, size, origin, references }: Shift): void {
    const standing = this.#standings.get(repository, digest);
    const [wasVisible, wasLinked] = [isVisible(standing), isLinked(standing)];
    change(standing);
    const [visible, linked] = [isVisible(standing), isLinked(standing)];
    this.#changes.digests.add(`${repository} ${digest}`);
    if (visible !== wasVisible) {
      this.#changes.events.push({ kind: "manifest", repository, digest, visible, origin });
    }
    if (linked !== wasLinked) {
      const linker = linkerKey(digest, repository);
      if (linked) {
        this.#tx.put(linker, EMPTY);
      } else {
        this.#tx.delete(linker);
      }
      this.#changes.events.push({ kind: "link", repository, digest, size, visible: linked, origin });
    }
    if (visible !== wasVisible) {
      const { known } = references ?? { known: manifestReferences(this.#tx, repository, digest) };
      this.#noteUnread(repository, digest, visible ? known : NOT_VISIBLE);
      const edges = edgesOf(repository, digest, known);
      const [before, after] = visible ? [NO_EDGES, edges] : [edges, NO_EDGES];
      this.#replace(repository, { before, after, origin });
    }
  }

  #replace(repository: string, { before, after, origin }: { before: Edges; after: Edges; origin: string }): void {
    for (const [key, edge] of after) {
      const known = before.get(key)?.row;
      if (known === undefined || Buffer.compare(known, edge.row) !== 0) {
        const by = known === undefined && this.#tx.get(key) === undefined ? 1 : 0;
        this.#tx.put(key, edge.row);
        this.#name(repository, edge, { by, origin });
      }
    }
    for (const [key, edge] of before) {
      if (!after.has(key) && this.#tx.delete(key)) {
        this.#name(repository, edge, { by: -1, origin });
      }
    }
  }

  #noteUnread(repository: string, digest: Digest, known: KnownManifest | typeof NOT_VISIBLE | undefined): void {
    const key = unreadKey(repository, digest);
    if (known !== NOT_VISIBLE && areUnknown(known?.value)) {
      this.#tx.put(key, EMPTY);
    } else {
      this.#tx.delete(key);
    }
  }

  /** What the edge names has one name more or less, or the same number in other words. */
  #name(repository: string, { names }: Edge, { by, origin }: { by: number; origin: string }): void {
    if (names === undefined) {
      return;
    }
    const { digest, role, size } = names;
    const change = (standing: Standing): void => {
      standing[role === NamerRole.child ? "children" : "blobs"] += by;
    };
    this.#pending.push({ repository, digest, change, size, origin });
  }
}

/** The rows that a manifest causes while it is visible. Foreign layers are not required: they are no edges. */
function edgesOf(repository: string, manifest: Digest, known: KnownManifest | undefined): Edges {
  if (known === undefined) {
    return NO_EDGES;
  }
  const { value, site } = known;
  const edges = new Map<string, Edge>();
  for (const reference of value.references) {
    if (reference.role === recordV1.ReferenceRole.FOREIGN) {
      continue;
    }
    const digest = fromWireDigest(reference.digest);
    const named: Named = { size: Number(reference.size), site, mediaType: reference.mediaType };
    if (isAbsent(value, reference)) {
      edges.set(namerKey(repository, digest, NamerRole.absent, manifest), { row: encodeNamed(named) });
      continue;
    }
    const role = reference.role === recordV1.ReferenceRole.CHILD ? NamerRole.child : NamerRole.blob;
    const names = { digest, role, size: named.size };
    edges.set(namerKey(repository, digest, role, manifest), { row: encodeNamed(named), names });
  }
  if (value.subject !== undefined) {
    edges.set(referrerKey(repository, fromWireDigest(value.subject.digest), manifest), { row: EMPTY });
  }
  return edges;
}
