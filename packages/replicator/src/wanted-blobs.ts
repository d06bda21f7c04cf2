import type { Digest } from "@meridian/oci";
import type { Clock, Random } from "@meridian/runtime";
import { SmallestFirst } from "./smallest-first.ts";
import type { BlobRank, WantedBlob } from "./wanted-blob.ts";

/** How many blobs are in which state, and how many bytes they have in all. */
export interface WantedCounts {
  readonly ready: number;
  readonly fetching: number;
  readonly landed: number;
  readonly homeless: number;
  readonly resting: number;
  readonly bytes: number;
}

/** What this site still has to fetch: each digest once, however many repositories name it. Pure: it fetches nothing. */
export class WantedBlobs {
  readonly #blobs = new Map<Digest, WantedBlob>();
  readonly #queue = new SmallestFirst();
  readonly #resting = new Set<WantedBlob>();
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #firstMs: number;
  readonly #maxMs: number;

  constructor(options: { clock: Clock; random: Random; retryFirstMs: number; retryMaxMs: number }) {
    this.#clock = options.clock;
    this.#random = options.random;
    this.#firstMs = options.retryFirstMs;
    this.#maxMs = options.retryMaxMs;
  }

  get(digest: Digest): WantedBlob | undefined {
    return this.#blobs.get(digest);
  }

  /** Wants a blob for a repository; one that is wanted already keeps its state and the better of both ranks. */
  want(
    repository: string,
    { digest, size, rank }: { digest: Digest; size: number; rank: BlobRank },
    traceparent?: string,
  ): WantedBlob {
    const known = this.#blobs.get(digest);
    if (known === undefined) {
      const made: WantedBlob = {
        digest,
        size,
        rank,
        traceparent,
        repositories: new Set([repository]),
        state: "ready",
        failures: 0,
        readyAt: 0,
      };
      this.#blobs.set(digest, made);
      this.#queue.push(made);
      return made;
    }
    known.repositories.add(repository);
    known.traceparent ??= traceparent;
    const rankNow = Math.min(known.rank, rank) as BlobRank;
    const knownSize = known.size === 0 ? size : known.size;
    if (rankNow !== known.rank || knownSize !== known.size) {
      known.rank = rankNow;
      known.size = knownSize;
      if (known.state === "ready") this.#queue.push(known);
    }
    return known;
  }

  /** It is here, or nobody needs it any more. */
  drop(digest: Digest): void {
    const blob = this.#blobs.get(digest);
    // The queue skips what is not ready.
    if (blob === undefined) return;
    blob.state = "landed";
    this.#resting.delete(blob);
    this.#blobs.delete(digest);
  }

  /** Takes the next one that may be fetched: manifests, then configs, then layers, the smallest first. */
  take(): WantedBlob | undefined {
    const blob = this.#queue.pop();
    if (blob !== undefined) blob.state = "fetching";
    return blob;
  }

  /** Puts one back that was taken and not tried. */
  putBack(blob: WantedBlob): void {
    this.#ready(blob);
  }

  homeless(blob: WantedBlob): void {
    blob.state = "homeless";
  }

  landed(blob: WantedBlob): void {
    blob.state = "landed";
  }

  /** A fetch failed: rests for a time that doubles with each failure, shortened at random by up to a half. */
  failed(blob: WantedBlob): void {
    const fullMs = Math.min(this.#firstMs * 2 ** Math.min(blob.failures, 30), this.#maxMs);
    blob.failures += 1;
    if (this.#blobs.get(blob.digest) !== blob) return;
    blob.state = "resting";
    this.#resting.add(blob);
    blob.readyAt = this.#clock.monotonic() + fullMs * (1 - this.#random.next() / 2);
  }

  /** Somebody else holds it now: worth trying at once. */
  holderAppeared(digest: Digest): void {
    const blob = this.#blobs.get(digest);
    if (blob?.state === "homeless" || blob?.state === "resting") this.#ready(blob);
  }

  /** Ends all rests: a site came back. */
  wakeAll(): void {
    for (const blob of this.#resting) this.#ready(blob);
  }

  /** Readies what has rested long enough; returns the milliseconds until the next one is, undefined when none rests. */
  wakeRested(): number | undefined {
    const now = this.#clock.monotonic();
    let next: number | undefined;
    for (const blob of this.#resting) {
      if (blob.readyAt <= now) this.#ready(blob);
      else next = Math.min(next ?? Number.POSITIVE_INFINITY, blob.readyAt - now);
    }
    return next;
  }

  counts(): WantedCounts {
    const counts = { ready: 0, fetching: 0, landed: 0, homeless: 0, resting: 0, bytes: 0 };
    for (const { state, size } of this.#blobs.values()) {
      counts[state] += 1;
      if (state !== "landed") counts.bytes += size;
    }
    return counts;
  }

  #ready(blob: WantedBlob): void {
    this.#resting.delete(blob);
    if (this.#blobs.get(blob.digest) !== blob) return;
    blob.state = "ready";
    this.#queue.push(blob);
  }
}
