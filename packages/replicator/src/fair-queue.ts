import { MinHeap } from "./min-heap.ts";
import type { WantedBlob } from "./wanted-blob.ts";

/** The place of a blob in the queue when it was put there. */
interface Queued {
  readonly blob: WantedBlob;
  readonly level: number;
  readonly size: number;
}

/** What one repository has waiting at one level. */
interface Lane {
  readonly repository: string;
  readonly blobs: MinHeap<Queued>;
  /** What the repository had been given when the lane was put where it stands. */
  givenBefore: number;
}

interface Level {
  readonly lanes: MinHeap<Lane>;
  readonly byRepository: Map<string, Lane>;
}

const RANKS = 3;
const LEVELS = 3 * RANKS;
/** A request costs as much as so many bytes: a repository of very many small blobs is not let through first for ever. */
const REQUEST_BYTES = 64 * 1024;
/** Every so many blobs one comes from the least urgent, so that a stream of new images starves no backlog. */
const LEAST_URGENT_EVERY = 8;

const MOST_URGENT_FIRST = [...Array(LEVELS).keys()];
const LEAST_URGENT_FIRST = [
  ...MOST_URGENT_FIRST.slice(6),
  ...MOST_URGENT_FIRST.slice(3, 6),
  ...MOST_URGENT_FIRST.slice(0, 3),
];

/**
 * Blobs by urgency, then rank; among equals each repository in turn, by the bytes that it was given; within a repository
 * the smallest first. A blob whose place changed is put in again, and the stale entry is skipped when it comes up.
 */
export class FairQueue {
  readonly #levels: readonly Level[] = Array.from({ length: LEVELS }, () => ({
    lanes: new MinHeap<Lane>((a, b) => a.givenBefore < b.givenBefore),
    byRepository: new Map<string, Lane>(),
  }));
  readonly #given = new Map<string, number>();
  /** What the repository that was served last had been given: one that comes anew begins there. */
  #floor = 0;
  #pops = 0;

  push(blob: WantedBlob): void {
    const [repository = ""] = blob.repositories;
    const level = levelOf(blob);
    const { lanes, byRepository } = this.#levels[level]!;
    let lane = byRepository.get(repository);
    if (lane === undefined) {
      lane = { repository, blobs: new MinHeap((a, b) => a.size < b.size), givenBefore: this.#givenTo(repository) };
      byRepository.set(repository, lane);
      lanes.push(lane);
    }
    lane.blobs.push({ blob, level, size: blob.size });
  }

  /** Takes the first blob that is ready; undefined when none is. */
  pop(): WantedBlob | undefined {
    this.#pops += 1;
    for (const level of this.#pops % LEAST_URGENT_EVERY === 0 ? LEAST_URGENT_FIRST : MOST_URGENT_FIRST) {
      const blob = this.#popFrom(this.#levels[level]!);
      if (blob !== undefined) return blob;
    }
    this.#given.clear();
    this.#floor = 0;
    return undefined;
  }

  #popFrom({ lanes, byRepository }: Level): WantedBlob | undefined {
    for (let lane = lanes.pop(); lane !== undefined; lane = lanes.pop()) {
      const { repository } = lane;
      const given = this.#givenTo(repository);
      // It was served at another level meanwhile: others may come first.
      if (given > lane.givenBefore && lanes.size > 0) {
        lane.givenBefore = given;
        lanes.push(lane);
        continue;
      }
      const blob = firstReady(lane);
      if (blob === undefined) {
        byRepository.delete(repository);
        continue;
      }
      this.#floor = given;
      lane.givenBefore = given + blob.size + REQUEST_BYTES;
      this.#given.set(repository, lane.givenBefore);
      lanes.push(lane);
      return blob;
    }
    return undefined;
  }

  #givenTo(repository: string): number {
    return Math.max(this.#given.get(repository) ?? 0, this.#floor);
  }
}

function firstReady({ blobs }: Lane): WantedBlob | undefined {
  for (let queued = blobs.pop(); queued !== undefined; queued = blobs.pop()) {
    const { blob, level, size } = queued;
    if (blob.state === "ready" && levelOf(blob) === level && blob.size === size) return blob;
  }
  return undefined;
}

function levelOf({ urgency, rank }: WantedBlob): number {
  return urgency * RANKS + rank;
}
