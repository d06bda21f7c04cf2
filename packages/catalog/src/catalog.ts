import type { Digest } from "@meridian/oci";
import type { recordV1 } from "@meridian/wire";
import type { Collectable } from "./collectable.ts";
import type { Comparable } from "./comparable.ts";
import type { LogLife } from "./own-log-life.ts";
import type { Retirement } from "./retirement.ts";
import type { TagWrite } from "./tag-history.ts";

/** A visible tag. */
export interface TagView {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly size: number;
  /** The site whose write it is: surely a holder of the manifest. */
  readonly site: string;
}

/** A visible manifest: by its own live put, or by what names it (consistency.md §4). */
export interface ManifestView {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly size: number;
  readonly site: string;
  /** Absent while the manifest's own record has not arrived: its bytes tell. */
  readonly value?: recordV1.ManifestValue;
}

/** A visible blob of a repository. */
export interface LinkView {
  readonly digest: Digest;
  readonly size: number;
  readonly site: string;
}

/** A tag that was deleted. */
export interface DeletedTag {
  readonly tag: string;
  /** What it named. */
  readonly digest: Digest;
}

/** Everything that a client needs of an image or index. */
export interface ImageContents {
  /** Each once: the manifest itself, config, layers, children and theirs; foreign layers left out. */
  readonly blobs: ReadonlyArray<{ readonly digest: Digest; readonly size: number; readonly manifest: boolean }>;
  /** What a sparse registry took the manifests without, and the repository still lacks. */
  readonly absent: readonly Digest[];
  /** False when some manifest's references are not known yet. */
  readonly complete: boolean;
}

/** A page of names in ASCII order. */
export interface Page<T> {
  readonly items: readonly T[];
  /** Pass as `last` for the next page; absent on the last one. */
  readonly next?: string;
}

/** An entry of the referrers list. */
export interface ReferrerView {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly size: number;
  readonly artifactType: string;
  readonly annotations: Readonly<Record<string, string>>;
  /** True while the annotations may be missing because they did not fit into the record: the manifest's bytes have them. */
  readonly partial: boolean;
}

/** What the folded view of this process shows. Everything is synchronous and local: the pull path. */
export interface CatalogReader {
  tag(repository: string, tag: string): TagView | undefined;
  manifest(repository: string, digest: Digest): ManifestView | undefined;
  /** Config, layer or manifest bytes linked in the repository. */
  blob(repository: string, digest: Digest): LinkView | undefined;
  /** True when anything visible lives in the repository, or its record does. */
  hasRepository(repository: string): boolean;
  /** `last` is exclusive. */
  tags(repository: string, page: { n?: number; last?: string }): Page<string>;
  repositories(page: { n?: number; last?: string }): Page<string>;
  referrers(repository: string, subject: Digest): ReferrerView[];
  /** Digests that the repository links or shows as manifests, in ASCII order. `last` is exclusive. */
  linked(repository: string, page: { n?: number; last?: string }): Page<string>;
  /** Live tags that name the digest. */
  tagsOf(repository: string, digest: Digest): string[];
  /** Visible indexes (or manifests) that reference the digest. */
  referencedBy(repository: string, digest: Digest): Digest[];
  /** Up to `n` repositories that link the digest, in ASCII order. */
  repositoriesOf(digest: Digest, n: number): string[];
  /** Nodes, as site/node, that said they hold the digest. A hint. */
  holders(digest: Digest): string[];
  /** The live records (tag, manifest, link, blob at node) that make a digest visible: what a Lookup answers. */
  recordsFor(repository: string, digest: Digest): recordV1.Record[];
  /** Tags that are deleted and whose last value is still known, in ASCII order. `last` is exclusive. */
  deletedTags(repository: string, page: { n?: number; last?: string }): Page<DeletedTag>;
  /** Manifests that were deleted and that nothing makes visible, in ASCII order. `last` is exclusive. */
  deletedManifests(repository: string, page: { n?: number; last?: string }): Page<Digest>;
  /** What is still known of a manifest that was deleted; undefined when nothing is, or it never was. */
  deletedManifest(repository: string, digest: Digest): recordV1.ManifestValue | undefined;
  /** What the whole of an image needs. */
  contents(repository: string, digest: Digest): ImageContents;
  /** Folded positions as a `Meridian-Version` token (design.md P11). */
  version(): string;
}

/** One change, by key. The catalog adds clock, `prev` and `deleted`. */
export type Change =
  | {
      readonly kind: "tag";
      readonly repository: string;
      readonly tag: string;
      readonly digest: Digest;
      readonly mediaType: string;
      readonly size: number;
      readonly who: string;
      /** True when an earlier value is put again; for the history. */
      readonly restored?: boolean;
    }
  | {
      readonly kind: "manifest";
      readonly repository: string;
      readonly digest: Digest;
      readonly value: recordV1.ManifestValue;
    }
  | { readonly kind: "link"; readonly repository: string; readonly digest: Digest; readonly size: number }
  | { readonly kind: "repository"; readonly repository: string; readonly who: string }
  | {
      readonly kind: "blob-at-node";
      readonly digest: Digest;
      readonly node: string;
      readonly size: number;
      readonly state: "present" | "draining" | "absent";
    }
  | { readonly kind: "delete-tag"; readonly repository: string; readonly tag: string; readonly who: string }
  | { readonly kind: "delete-manifest"; readonly repository: string; readonly digest: Digest; readonly who: string }
  | { readonly kind: "delete-repository"; readonly repository: string }
  | { readonly kind: "delete-link"; readonly repository: string; readonly digest: Digest }
  /** As `delete-link`, for the collection: left out when something needs it by then, or it is gone. */
  | { readonly kind: "collect-link"; readonly repository: string; readonly digest: Digest };

/** Conditions on the tag of a tag or delete-tag change (RFC 9110 §13.1). */
export interface TagCondition {
  /** The digest that the tag must name. */
  readonly ifMatch?: Digest;
  /** The tag must not exist. */
  readonly ifNoneMatch?: "*";
}

export interface CatalogWriter {
  /**
   * Writes the changes in order: outbox, log, fold on every live gateway of the site; then resolves with the version
   * token that shows them. Nothing is written twice on retries inside.
   * @throws ContentError `precondition` when a condition fails, `unavailable` when the log is away (nothing was written, or the outcome is unknown and a retry is safe).
   */
  commit(changes: readonly Change[], options?: { condition?: TagCondition; signal?: AbortSignal }): Promise<string>;
  /** Merges records that another member answered with into this process's view (not into the log). */
  learn(records: readonly recordV1.Record[]): Promise<void>;
}

/** What changed in the view, for schedulers and caches. Delivered after the fold's transaction committed. */
export type CatalogEvent = CatalogChange & {
  /** The sampled trace that wrote the digest's record (W3C traceparent), when the fold knows it: to be linked to. */
  readonly traceparent?: string;
};

type CatalogChange =
  | {
      readonly kind: "tag";
      readonly repository: string;
      readonly tag: string;
      readonly digest: Digest | undefined;
      readonly origin: string;
    }
  | {
      readonly kind: "manifest";
      readonly repository: string;
      readonly digest: Digest;
      readonly visible: boolean;
      readonly origin: string;
    }
  | {
      readonly kind: "link";
      readonly repository: string;
      readonly digest: Digest;
      readonly size: number;
      readonly visible: boolean;
      readonly origin: string;
    }
  | { readonly kind: "holder"; readonly digest: Digest; readonly node: string; readonly present: boolean };

/** What clients of this process were told to be here (consistency.md §7). */
export interface CatalogPins {
  /**
   * The digest stays linked in the repository for the length of a pin from now on: to be called in the same turn as the
   * look that found it there, and before bytes of it are stored. Cheap, nothing is waited for: it is on the read path.
   * `size` in bytes.
   */
  pin(repository: string, digest: Digest, size: number): void;
  /** The digest's bytes stay for that long, linked or not: they are being stored, and are named a moment later. */
  hold(digest: Digest): void;
  /** A client asked for the digest to be deleted from the repository: what was told before counts no more. */
  unpin(repository: string, digest: Digest): void;
  /** Whether a pin lasts, in the repository or, without one, anywhere. */
  isPinned(digest: Digest, repository?: string): boolean;
  /** Resolves once what is known to be pinned and not visible is linked again; at once when all is. Never rejects. */
  relinked(): Promise<void>;
}

/** The catalog of one process: view, fold and writer. */
export interface Catalog extends CatalogReader, CatalogWriter, AsyncDisposable {
  readonly pins: CatalogPins;
  readonly collectable: Collectable;
  readonly retirement: Retirement;
  readonly comparable: Comparable;
  /** Whether the site's log has what it ever had: it takes no writes before. */
  readonly life: LogLife;
  /**
   * The writes of a tag at all sites, the newest first, as far as they are known here and kept.
   * @throws ContentError `unavailable` when the site's log cannot be read.
   */
  tagHistory(repository: string, tag: string): Promise<TagWrite[]>;
  /** Calls `listener` with each batch of events until disposed. */
  subscribe(listener: (events: readonly CatalogEvent[]) => void): Disposable;
  /** True once folded past the heads known at start and listed by every live gateway of the site. */
  readonly ready: boolean;
  /**
   * Resolves once the view shows the version token or newer.
   * @throws ContentError `unavailable` when the signal's deadline passes first, `invalid` when the token is malformed, `precondition` when it names what a log has lost.
   */
  reached(version: string, signal: AbortSignal): Promise<void>;
  /**
   * Resolves once the view shows, and its version tells, all that the site's own log held at the call.
   * @throws ContentError `unavailable` when the log is away, or the signal aborts first.
   */
  ownLogShown(signal: AbortSignal): Promise<void>;
  /**
   * Resolves once what is shown now would survive a power loss at this site: peers' records are shown before their copy
   * is on disk. To be awaited before a promise is given that rests on the view.
   * @throws ContentError `unavailable` when the signal aborts first, or the copy could not be stored.
   */
  stored(signal: AbortSignal): Promise<void>;
  /** Last sequence of the origin's stream that every live gateway of this site has folded: what tail readers report. */
  foldedPosition(origin: string): { readonly incarnation: string; readonly sequence: number } | undefined;
  /** Remembers a digest's manifest references read from its bytes, where its record is missing or too large. */
  learnManifest(repository: string, digest: Digest, value: recordV1.ManifestValue): Promise<void>;
}
