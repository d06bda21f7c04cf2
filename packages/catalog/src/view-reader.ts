import type { OrderedStore } from "@meridian/keyvalue";
import type { Digest } from "@meridian/oci";
import type { CatalogReader, LinkView, ManifestView, Page, ReferrerView, TagView } from "./catalog.ts";
import { deletedManifest, deletedManifests, deletedTags } from "./deleted-content.ts";
import { imageContents } from "./image-contents.ts";
import { findLink, findManifest, findRecord, findTag, manifestReferences, namers } from "./lookups.ts";
import type { Positions } from "./positions.ts";
import { ReadCache } from "./read-cache.ts";
import { supportingRecords } from "./supporting-records.ts";
import type { ViewChanges } from "./view-changes.ts";
import { liveCountKey, liveTagKey, NamerRole, under } from "./view-layout.ts";
import { isPresent } from "./view-update.ts";

const CACHED = 20_000;

/** Reads of the folded view. What a pull asks for comes from memory once it was read. */
export class ViewReader implements CatalogReader {
  readonly #view: OrderedStore;
  readonly #positions: Positions;
  readonly #tags = new ReadCache<TagView | undefined>(CACHED);
  readonly #manifests = new ReadCache<ManifestView | undefined>(CACHED);
  readonly #links = new ReadCache<LinkView | undefined>(CACHED);
  readonly #holders = new ReadCache<string[]>(CACHED);

  constructor(view: OrderedStore, positions: Positions) {
    this.#view = view;
    this.#positions = positions;
  }

  /** To be called for each committed transaction, before anyone is told of it. */
  forget({ tags, digests, holders }: ViewChanges): void {
    for (const key of tags) {
      this.#tags.delete(key);
    }
    for (const key of digests) {
      this.#manifests.delete(key);
      this.#links.delete(key);
    }
    for (const digest of holders) {
      this.#holders.delete(digest);
    }
  }

  forgetAll(): void {
    for (const cache of [this.#tags, this.#manifests, this.#links, this.#holders]) {
      cache.clear();
    }
  }

  tag(repository: string, tag: string): TagView | undefined {
    return this.#tags.get(liveTagKey(repository, tag), () => findTag(this.#view, repository, tag));
  }

  manifest(repository: string, digest: Digest): ManifestView | undefined {
    return this.#manifests.get(`${repository} ${digest}`, () => findManifest(this.#view, repository, digest));
  }

  blob(repository: string, digest: Digest): LinkView | undefined {
    return this.#links.get(`${repository} ${digest}`, () => findLink(this.#view, repository, digest));
  }

  hasRepository(repository: string): boolean {
    return this.#view.get(liveCountKey(repository)) !== undefined;
  }

  tags(repository: string, page: { n?: number; last?: string }): Page<string> {
    return this.#names(`t ${repository} `, page);
  }

  linked(repository: string, page: { n?: number; last?: string }): Page<string> {
    return this.#names(`d ${repository} `, page);
  }

  repositories(page: { n?: number; last?: string }): Page<string> {
    return this.#names("v ", page);
  }

  #names(prefix: string, { n, last }: { n?: number; last?: string }): Page<string> {
    const { start, end } = under(prefix);
    // A name's successor: nothing sorts between it and the name with the smallest character behind it.
    const from = last === undefined ? start : `${prefix}${last}\0`;
    const limit = n === undefined ? undefined : n + 1;
    const items: string[] = [];
    for (const [key] of this.#view.range({ start: from, end, limit })) {
      items.push(key.slice(prefix.length));
    }
    if (n === undefined || items.length <= n) {
      return { items };
    }
    items.pop();
    return { items, next: items.at(-1) };
  }

  referrers(repository: string, subject: Digest): ReferrerView[] {
    const prefix = `s ${repository} ${subject} `;
    const found: ReferrerView[] = [];
    for (const [key] of this.#view.range(under(prefix))) {
      const manifest = this.manifest(repository, key.slice(prefix.length) as Digest);
      if (manifest?.value !== undefined) {
        const { digest, mediaType, size, value } = manifest;
        const { artifactType, annotations, seeBytes } = value;
        const partial = seeBytes && Object.keys(annotations).length === 0;
        found.push({ digest, mediaType, size, artifactType, annotations, partial });
      }
    }
    return found;
  }

  tagsOf(repository: string, digest: Digest): string[] {
    return Array.from(namers(this.#view, repository, digest, { role: NamerRole.tag }), ({ namer }) => namer);
  }

  referencedBy(repository: string, digest: Digest): Digest[] {
    const found = [NamerRole.child, NamerRole.blob, NamerRole.absent].flatMap((role) => [
      ...namers(this.#view, repository, digest, { role }),
    ]);
    return found.map(({ namer }) => namer as Digest);
  }

  holders(digest: Digest): string[] {
    return this.#holders.get(digest, () => this.#readHolders(digest));
  }

  #readHolders(digest: Digest): string[] {
    const prefix = `rb ${digest} `;
    const nodes: string[] = [];
    for (const [key] of this.#view.range(under(prefix))) {
      const found = findRecord(this.#view, key);
      if (found !== undefined && isPresent(found.record)) {
        nodes.push(key.slice(prefix.length));
      }
    }
    return nodes;
  }

  repositoriesOf(digest: Digest, n: number): string[] {
    const prefix = `w ${digest} `;
    return Array.from(this.#view.range({ ...under(prefix), limit: n }), ([key]) => key.slice(prefix.length));
  }

  recordsFor(repository: string, digest: Digest): ReturnType<CatalogReader["recordsFor"]> {
    return supportingRecords(this.#view, repository, digest);
  }

  deletedTags(repository: string, page: { n?: number; last?: string }): ReturnType<CatalogReader["deletedTags"]> {
    return deletedTags(this.#view, repository, page);
  }

  deletedManifests(repository: string, page: { n?: number; last?: string }): Page<Digest> {
    return deletedManifests(this.#view, repository, page);
  }

  deletedManifest(repository: string, digest: Digest): ReturnType<CatalogReader["deletedManifest"]> {
    return deletedManifest(this.#view, repository, digest);
  }

  contents(repository: string, digest: Digest): ReturnType<CatalogReader["contents"]> {
    return imageContents({
      root: digest,
      size: this.manifest(repository, digest)?.size ?? 0,
      references: (manifest) => manifestReferences(this.#view, repository, manifest)?.value,
      isHere: (reference) => this.blob(repository, reference) !== undefined,
    });
  }

  version(): string {
    return this.#positions.version();
  }
}
