import type { Digest } from "@meridian/oci";
import type { Clock, Random } from "@meridian/runtime";
import { FairQueue } from "./fair-queue.ts";
import { type BlobRank, Urgency, type WantedBlob } from "./wanted-blob.ts";

/** How many blobs are in which state, and how many bytes they have in all. */
export interface WantedCounts {
  readonly ready: number;
  readonly fetching: number;
  readonly landed: number;
  readonly homeless: number;
  readonly resting: number;
  readonly poisoned: number;
  readonly bytes: number;
}

/** A blob of which every holder has wrong bytes is looked at again after so long: somebody may have pushed it anew. Milliseconds. */
const POISONED_MS = 600_000;

/** How a blob is wanted. */
export interface Wish {
  /** Default: backlog. */
  readonly urgency?: Urgency;
  /** The sampled trace of the push that made it visible. */
  readonly traceparent?: string | undefined;
  /** A site that holds it. */
  readonly source?: string | undefined;
}

/** What this site still has to fetch: each digest once, however many repositories name it. Pure: it fetches nothing. */
export class WantedBlobs {
  readonly #blobs = new Map<Digest, WantedBlob>();
  readonly #queue = new FairQueue();
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

  /** Every blob that is wanted and not here. */
  *all(): Iterable<WantedBlob> {
    for (const blob of this.#blobs.values()) if (blob.state !== "landed") yield blob;
  }

  /** Wants a blob for a repository; one that is wanted already keeps its state and the better of both ranks and urgencies. */
  want(
    repository: string,
    { digest, size, rank }: { digest: Digest; size: number; rank: BlobRank },
    { urgency = Urgency.backlog, traceparent, source }: Wish = {},
  ): WantedBlob {
    const known = this.#blobs.get(digest);
    if (known === undefined) {
      const made: WantedBlob = {
        digest,
        size,
        rank,
        urgency,
        since: this.#clock.monotonic(),
        traceparent,
        ...(source !== undefined && { source }),
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
    if (source !== undefined) known.source ??= source;
    this.#improve(known, { size, rank, urgency });
    return known;
  }

  #improve(known: WantedBlob, { size, rank, urgency }: Pick<WantedBlob, "size" | "rank" | "urgency">): void {
    const rankNow = Math.min(known.rank, rank) as BlobRank;
    const urgencyNow = Math.min(known.urgency, urgency) as Urgency;
    const sizeNow = known.size === 0 ? size : known.size;
    if (rankNow === known.rank && urgencyNow === known.urgency && sizeNow === known.size) return;
    known.rank = rankNow;
    known.urgency = urgencyNow;
    known.size = sizeNow;
    // Whoever pulls it does not wait for what nobody waited for.
    if (known.state === "ready" || (known.state === "resting" && urgencyNow === Urgency.pulled)) this.#ready(known);
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
    this.#restUntil(blob, "resting", this.#clock.monotonic() + fullMs * (1 - this.#random.next() / 2));
  }

  /** Waits for so long without having failed: its link's window is closed. */
  rest(blob: WantedBlob, ms: number): void {
    this.#restUntil(blob, "resting", this.#clock.monotonic() + ms);
  }

  /** Every holder has wrong bytes: left alone for long, until another one appears. */
  poisoned(blob: WantedBlob): void {
    blob.failures += 1;
    this.#restUntil(blob, "poisoned", this.#clock.monotonic() + POISONED_MS);
  }

  /** Somebody else holds it now: worth trying at once. */
  holderAppeared(digest: Digest, site: string): void {
    const blob = this.#blobs.get(digest);
    if (blob !== undefined) blob.source ??= site;
    const waits = blob?.state === "homeless" || blob?.state === "resting" || blob?.state === "poisoned";
    if (blob !== undefined && waits) this.#ready(blob);
  }

  /** Ends all rests: a site came back. */
  wakeAll(): void {
    for (const blob of this.#resting) if (blob.state === "resting") this.#ready(blob);
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
    const counts = { ready: 0, fetching: 0, landed: 0, homeless: 0, resting: 0, poisoned: 0, bytes: 0 };
    for (const { state, size } of this.#blobs.values()) {
      counts[state] += 1;
      if (state !== "landed") counts.bytes += size;
    }
    return counts;
  }

  #restUntil(blob: WantedBlob, state: "resting" | "poisoned", readyAt: number): void {
    if (this.#blobs.get(blob.digest) !== blob) return;
    blob.state = state;
    blob.readyAt = readyAt;
    this.#resting.add(blob);
  }

  #ready(blob: WantedBlob): void {
    this.#resting.delete(blob);
    if (this.#blobs.get(blob.digest) !== blob) return;
    blob.state = "ready";
    this.#queue.push(blob);
  }
}
