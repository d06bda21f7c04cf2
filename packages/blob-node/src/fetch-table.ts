import type { Digest } from "@meridian/oci";
import { BlobFetch, type BlobFetchDeps } from "./blob-fetch.ts";
import { type FetchClass, type FetchLimits, FetchScheduler } from "./fetch-scheduler.ts";

/** How a fetch is asked for. */
export interface FetchRequest {
  /** As site/node, nearest first. */
  readonly holders: readonly string[];
  /** Bytes, when known: small ones go first. */
  readonly size?: number;
  readonly class: FetchClass;
}

/** What a {@link FetchTable} needs. */
export interface FetchTableOptions extends BlobFetchDeps {
  readonly limits: FetchLimits;
  /** Called when a fetch has stored a blob. */
  readonly onStored: (digest: Digest, size: number) => void;
}

/** The fetches under way, at most one per digest. */
export class FetchTable implements AsyncDisposable {
  readonly #options: FetchTableOptions;
  readonly #scheduler: FetchScheduler;
  readonly #running = new Map<Digest, BlobFetch>();

  constructor(options: FetchTableOptions) {
    this.#options = options;
    this.#scheduler = new FetchScheduler(options.limits);
  }

  /** The fetch of a blob, if there is one now. */
  find(digest: Digest): BlobFetch | undefined {
    return this.#running.get(digest);
  }

  /** Joins the fetch of a blob, or starts it. */
  join(digest: Digest, request: FetchRequest): { readonly fetch: BlobFetch; readonly started: boolean } {
    const running = this.#running.get(digest);
    if (running !== undefined) {
      running.addHolders(request.holders);
      running.linkWaiter();
      if (request.class === "pull") running.promote();
      return { fetch: running, started: false };
    }
    const ticket = this.#scheduler.enqueue(request.class, request.size);
    const fetch = new BlobFetch(digest, request, ticket, this.#options);
    this.#running.set(digest, fetch);
    const remove = (): void => void this.#running.delete(digest);
    fetch.stored.then(({ size }) => {
      remove();
      if (fetch.fetched) this.#options.onStored(digest, size);
    }, remove);
    return { fetch, started: true };
  }

  /** Ends the fetch of a blob that nobody waits for, and drops what has come; false when there is none, or somebody does. */
  async drop(digest: Digest): Promise<boolean> {
    const running = this.#running.get(digest);
    if (running === undefined || running.class === "pull") return false;
    await running.drop();
    return true;
  }

  /** All fetches that run or wait. */
  list(): readonly BlobFetch[] {
    return [...this.#running.values()];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.list().map((fetch) => fetch.cancel()));
  }
}
