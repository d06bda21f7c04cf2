import type { Catalog, CatalogEvent } from "@meridian/catalog";
import type { Digest } from "@meridian/oci";
import type { SitePlacement } from "@meridian/policy";
import type { Logger, Timers } from "@meridian/runtime";
import type { CompleteImage, PendingImages } from "./pending-images.ts";
import type { ReferenceReader } from "./reference-reader.ts";
import { allRepositories, blobsOfManifest, linkedDigests, taggedDigests, type VisibleBlob } from "./visible-blobs.ts";
import { BlobRank, Urgency, type WantedBlob } from "./wanted-blob.ts";
import type { WantedBlobs, Wish } from "./wanted-blobs.ts";

/** Events and scanned digests handled between two turns of the event loop. */
const SLICE = 200;
const RESCAN_AFTER_LOSS_MS = 2_000;

export interface BlobTrackerOptions {
  readonly site: string;
  readonly catalog: Catalog;
  readonly wanted: WantedBlobs;
  readonly references: ReferenceReader;
  readonly images: PendingImages;
  /** Called for each image that has become whole here. */
  readonly complete: (image: CompleteImage) => void;
  /** What this site keeps of a repository. */
  readonly placement: (repository: string) => SitePlacement;
  /** Called when there may be something new to fetch. */
  readonly changed: () => void;
  /** Called when a blob is not wanted any more that may be fetched at present. */
  readonly dropped: (digest: Digest) => void;
  readonly timers: Timers;
  readonly log: Logger;
  readonly rescanEveryMs: number;
}

/**
 * Keeps the wanted set true: from the catalog's events as they come, and from everything visible at start, from time to
 * time, and after a node of this site lost a blob. Work is done in slices, so that a long backlog never blocks pulls.
 */
export class BlobTracker implements AsyncDisposable {
  readonly #options: BlobTrackerOptions;
  readonly #stop = new AbortController();
  readonly #subscription: Disposable;
  readonly #rescanning: Disposable;
  #events: CatalogEvent[] = [];
  #scanDue = true;
  #rescanSoon: Disposable | undefined;
  #running: Promise<void> | undefined;
  #scanned = false;

  constructor(options: BlobTrackerOptions) {
    this.#options = options;
    this.#subscription = options.catalog.subscribe((events) => {
      for (const event of events) this.#events.push(event);
      this.#start();
    });
    this.#rescanning = options.timers.every(options.rescanEveryMs, () => this.rescan());
    this.#start();
  }

  /** True once everything visible at start was looked through. */
  get scanned(): boolean {
    return this.#scanned;
  }

  /** Looks through everything visible, soon. */
  rescan(): void {
    this.#scanDue = true;
    this.#start();
  }

  /** Wants what belongs to a manifest whose references became known. */
  considerManifest(repository: string, digest: Digest): void {
    this.#considerAll(repository, digest);
    this.#options.changed();
  }

  /** Somebody pulls it: it, and what belongs to it, goes before everything that nobody waits for. */
  prefer(repository: string, manifest: Digest): void {
    this.#considerAll(repository, manifest, { urgency: Urgency.pulled });
    this.#options.changed();
  }

  /** A node of this site holds it. */
  arrived(digest: Digest): void {
    const { wanted, references, images, complete } = this.#options;
    const blob = wanted.get(digest);
    wanted.drop(digest);
    for (const image of images.arrived(digest)) complete(image);
    if (blob?.rank !== BlobRank.manifest) return;
    for (const repository of blob.repositories) references.arrived(repository, digest);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#subscription[Symbol.dispose]();
    this.#rescanning[Symbol.dispose]();
    this.#rescanSoon?.[Symbol.dispose]();
    this.#stop.abort();
    await this.#running;
  }

  #start(): void {
    if (this.#stop.signal.aborted) return;
    this.#running ??= this.#run().finally(() => (this.#running = undefined));
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        await Promise.resolve();
        if (this.#events.length > 0) await this.#takeEvents();
        else if (this.#scanDue) await this.#scan();
        else return;
      } catch (error) {
        if (signal.aborted) return;
        // The view may be closing or read while it is rebuilt: the next scan finds what was missed.
        this.#options.log.error("looking for missing blobs failed", { error });
        this.#scanDue = true;
        await this.#options.timers.sleep(RESCAN_AFTER_LOSS_MS, { signal }).catch(() => {});
      }
    }
  }

  async #takeEvents(): Promise<void> {
    const events = this.#events;
    this.#events = [];
    const deletedFrom = new Set<string>();
    for (const [index, event] of events.entries()) {
      if (this.#stop.signal.aborted) return;
      this.#take(event);
      if (event.kind !== "holder" && isDeletion(event)) deletedFrom.add(event.repository);
      if (index % SLICE === SLICE - 1) await this.#yield();
    }
    if (deletedFrom.size > 0) this.#afterDeletions(deletedFrom);
    this.#options.changed();
  }

  /** What nothing needs any more is not fetched, and not fetched to its end. A blob that is linked alone comes with the next scan. */
  #afterDeletions(repositories: ReadonlySet<string>): void {
    const { wanted, images, dropped } = this.#options;
    for (const blob of [...wanted.all()]) {
      if (!some(blob.repositories, (name) => repositories.has(name))) continue;
      if (some(blob.repositories, (name) => this.#isNeeded(name, blob))) continue;
      wanted.drop(blob.digest);
      images.dropped(blob.digest);
      dropped(blob.digest);
    }
  }

  #isNeeded(repository: string, { digest, rank }: WantedBlob): boolean {
    const { catalog } = this.#options;
    if (catalog.manifest(repository, digest) !== undefined) return true;
    return rank !== BlobRank.manifest && catalog.referencedBy(repository, digest).length > 0;
  }

  #take(event: CatalogEvent): void {
    const { catalog, wanted, site } = this.#options;
    switch (event.kind) {
      case "tag":
        if (event.digest !== undefined) this.#considerAll(event.repository, event.digest, named(event.traceparent));
        return;
      case "manifest":
        if (event.visible) this.#considerAll(event.repository, event.digest, named(event.traceparent));
        return;
      case "link": {
        if (!event.visible) return;
        const isManifest = catalog.manifest(event.repository, event.digest) !== undefined;
        const rank = isManifest ? BlobRank.manifest : BlobRank.layer;
        this.#consider(event.repository, { digest: event.digest, size: event.size, rank }, named(event.traceparent));
        return;
      }
      case "holder": {
        const own = event.node.startsWith(`${site}/`);
        if (own && event.present) this.arrived(event.digest);
        else if (catalog.holders(event.digest).some((node) => node.startsWith(`${site}/`))) return;
        else if (own) this.#rescanSoon ??= this.#options.timers.after(RESCAN_AFTER_LOSS_MS, () => this.#rescanNow());
        else if (event.present) wanted.holderAppeared(event.digest, siteOf(event.node) ?? "");
      }
    }
  }

  #rescanNow(): void {
    this.#rescanSoon = undefined;
    this.rescan();
  }

  async #scan(): Promise<void> {
    const { catalog } = this.#options;
    this.#scanDue = false;
    let count = 0;
    for (const repository of allRepositories(catalog)) {
      for (const digests of [taggedDigests(catalog, repository), linkedDigests(catalog, repository)]) {
        for (const digest of digests) {
          if (this.#stop.signal.aborted) return;
          this.#considerLinked(repository, digest);
          count += 1;
          if (count % SLICE === 0) {
            this.#options.changed();
            await this.#yield();
          }
        }
      }
    }
    this.#scanned = true;
    this.#options.changed();
  }

  #considerLinked(repository: string, digest: Digest): void {
    const { catalog } = this.#options;
    if (catalog.manifest(repository, digest) !== undefined) {
      this.#considerAll(repository, digest);
      return;
    }
    const size = catalog.blob(repository, digest)?.size;
    if (size !== undefined) this.#consider(repository, { digest, size, rank: BlobRank.layer });
  }

  #considerAll(repository: string, manifest: Digest, wish?: Wish): void {
    const missing: Digest[] = [];
    for (const blob of blobsOfManifest(this.#options.catalog, repository, manifest))
      if (this.#consider(repository, blob, wish)) missing.push(blob.digest);
    this.#options.images.lacks(repository, manifest, missing);
  }

  /** True when the blob is wanted now. */
  #consider(repository: string, blob: VisibleBlob, wish?: Wish): boolean {
    const { catalog, wanted, references, site, placement } = this.#options;
    const kept = placement(repository);
    if (kept === "never") return false;
    const holders = catalog.holders(blob.digest);
    if (holders.some((node) => node.startsWith(`${site}/`))) {
      if (blob.rank === BlobRank.manifest) references.arrived(repository, blob.digest);
      return false;
    }
    if (kept === "lazy" && wish?.urgency !== Urgency.pulled) return false;
    wanted.want(repository, blob, { ...wish, source: siteOf(holders[0]) });
    return true;
  }

  async #yield(): Promise<void> {
    await this.#options.timers.sleep(0, { signal: this.#stop.signal });
  }
}

function named(traceparent: string | undefined): Wish {
  return { urgency: Urgency.named, traceparent };
}

function isDeletion(event: Exclude<CatalogEvent, { kind: "holder" }>): boolean {
  return event.kind === "tag" ? event.digest === undefined : !event.visible;
}

function some<T>(items: Iterable<T>, test: (item: T) => boolean): boolean {
  for (const item of items) if (test(item)) return true;
  return false;
}

function siteOf(node: string | undefined): string | undefined {
  return node?.slice(0, node.indexOf("/"));
}
