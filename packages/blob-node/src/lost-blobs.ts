import type { Digest } from "@meridian/oci";
import type { BlobStore, Damage } from "@meridian/storage";
import type { BlobNodeEvents } from "./telemetry.ts";

/** What {@link LostBlobs} needs. */
export interface LostBlobsOptions {
  readonly store: BlobStore;
  readonly events: BlobNodeEvents;
}

/** What records say of a blob on this node. */
export interface Expectation {
  readonly digest: Digest;
  /** Bytes; absent when unknown. */
  readonly size?: number;
}

/** More are remembered by nobody: records tell of them again at the next start. */
const MAX_LOST = 100_000;

/** Blobs that this node should hold and does not, because the copy was found bad or is gone; and what was done about it. */
export class LostBlobs implements Disposable {
  readonly #options: LostBlobsOptions;
  readonly #lost = new Set<Digest>();
  /** Blobs of another size than records say whose bytes are right all the same. */
  readonly #rightSized = new Map<Digest, number>();
  readonly #watching: Disposable | undefined;

  constructor(options: LostBlobsOptions) {
    this.#options = options;
    this.#watching = options.store.checks?.watch((damage) => this.#damaged(damage));
  }

  get size(): number {
    return this.#lost.size;
  }

  /** At most so many of them. */
  list(max: number): Digest[] {
    return [...this.#lost.values().take(max)];
  }

  /** Finds those that an earlier process lost and did not get back. */
  async remember(): Promise<void> {
    const { store } = this.#options;
    if (store.checks === undefined) return;
    for await (const { digest } of store.checks.quarantined()) {
      if ((await store.stat(digest)) === undefined) this.#add(digest);
    }
  }

  /** The blob is stored. */
  found(digest: Digest): void {
    if (this.#lost.delete(digest)) this.#options.events.copyReplaced(digest);
  }

  /** The blob was deleted on purpose. */
  forget(digest: Digest): void {
    this.#lost.delete(digest);
  }

  /** Compares records with the disk; resolves with how many of the blobs are lost. */
  async expect(blobs: readonly Expectation[]): Promise<number> {
    let lost = 0;
    for (const expected of blobs) {
      if (await this.#isWhole(expected)) continue;
      lost += 1;
      this.#add(expected.digest);
    }
    return lost;
  }

  /** Whether it is here, and of that size, or right all the same: a manifest may state a layer's size wrongly. */
  async isRight({ digest, size }: Required<Expectation>): Promise<boolean> {
    if (this.#rightSized.get(digest) === size) return true;
    const { checks } = this.#options.store;
    if (checks !== undefined && (await checks.check(digest)) !== "right") return false;
    this.#rightSized.set(digest, size);
    if (this.#rightSized.size > MAX_LOST) this.#rightSized.clear();
    return true;
  }

  [Symbol.dispose](): void {
    this.#watching?.[Symbol.dispose]();
  }

  async #isWhole({ digest, size }: Expectation): Promise<boolean> {
    const info = await this.#options.store.stat(digest);
    if (info === undefined) {
      if (!this.#lost.has(digest)) this.#options.events.copyMissing(digest);
      return false;
    }
    return size === undefined || info.size === size || this.isRight({ digest, size });
  }

  #damaged({ digest, problem }: Damage): void {
    this.#options.events.copyDamaged(digest, problem);
    this.#add(digest);
  }

  #add(digest: Digest): void {
    if (this.#lost.size < MAX_LOST) this.#lost.add(digest);
  }
}
