import type { collectionV1 } from "@meridian/wire";

/** A number of things and their bytes. */
export interface Tally {
  count: number;
  bytes: number;
}

/** The kinds of things that a pass takes away. */
export type Collected = "links" | "manifests" | "blobs";

/** Repositories told apart in a report; the rest is told together. */
const MAX_REPOSITORIES = 1_000;

/** What one pass has found and done so far. */
export class Pass {
  readonly dryRun: boolean;
  readonly startedAt: number;
  finishedAt = 0;
  phase = "";
  failure = "";
  blobsSeen = 0;
  blobsNeeded = 0;
  deletions = 0;
  readonly taken: Readonly<Record<Collected, Tally>> = { links: none(), manifests: none(), blobs: none() };
  readonly inGrace: Readonly<Record<Collected, Tally>> = { links: none(), manifests: none(), blobs: none() };
  readonly #repositories = new Map<string, Record<Collected, Tally>>();

  /** `startedAt`: Unix epoch, milliseconds. */
  constructor({ dryRun, startedAt }: { readonly dryRun: boolean; readonly startedAt: number }) {
    this.dryRun = dryRun;
    this.startedAt = startedAt;
  }

  /** Something goes, or would. */
  take(kind: Collected, { repository, size }: { readonly repository: string; readonly size: number }): void {
    add(this.taken[kind], size);
    const known = this.#repositories.has(repository) || this.#repositories.size < MAX_REPOSITORIES;
    const name = known ? repository : "";
    const tallies = this.#repositories.get(name) ?? { links: none(), manifests: none(), blobs: none() };
    this.#repositories.set(name, tallies);
    add(tallies[kind], size);
  }

  /** Something is not needed, but not for long enough yet. */
  wait(kind: Collected, size: number): void {
    add(this.inGrace[kind], size);
  }

  /** As the service tells it. */
  message(): Omit<collectionV1.Pass, "$typeName"> {
    const { taken, inGrace } = this;
    return {
      dryRun: this.dryRun,
      startedMs: BigInt(Math.round(this.startedAt)),
      finishedMs: BigInt(Math.round(this.finishedAt)),
      phase: this.phase,
      links: wire(taken.links),
      linksInGrace: wire(inGrace.links),
      manifests: wire(taken.manifests),
      manifestsInGrace: wire(inGrace.manifests),
      blobs: wire(taken.blobs),
      blobsInGrace: wire(inGrace.blobs),
      blobsSeen: BigInt(this.blobsSeen),
      blobsNeeded: BigInt(this.blobsNeeded),
      deletions: BigInt(this.deletions),
      repositories: [...this.#repositories]
        .sort(([, a], [, b]) => b.blobs.bytes + b.links.bytes - a.blobs.bytes - a.links.bytes)
        .map(([repository, { links, manifests, blobs }]) => ({
          $typeName: "meridian.collection.v1.RepositoryTally",
          repository,
          links: wire(links),
          manifests: wire(manifests),
          blobs: wire(blobs),
        })),
      failure: this.failure,
    };
  }
}

function none(): Tally {
  return { count: 0, bytes: 0 };
}

function add(tally: Tally, bytes: number): void {
  tally.count += 1;
  tally.bytes += bytes;
}

function wire({ count, bytes }: Tally): collectionV1.Tally {
  return { $typeName: "meridian.collection.v1.Tally", count: BigInt(count), bytes: BigInt(bytes) };
}
