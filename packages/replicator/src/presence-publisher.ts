import type { Catalog, Change } from "@meridian/catalog";
import type { Digest } from "@meridian/oci";
import type { Clock, Logger, Timers } from "@meridian/runtime";

/** Blobs that landed within this time are published together, in milliseconds; long enough for a node to say so itself. */
const GATHER_MS = 60;
/** From one publication to the next, in milliseconds, unless many wait: where blobs are is a hint, and costs the log a sync. */
const SPACING_MS = 250;
const MAX_CHANGES = 256;
const RETRY_MS = 1_000;

/** A blob that a node of this site holds. */
export interface Presence {
  readonly digest: Digest;
  readonly size: number;
  /** The node's full name. */
  readonly node: string;
}

/** Writes "blob at node" records in batches, and again until the log takes them. */
export class PresencePublisher implements AsyncDisposable {
  readonly #catalog: Pick<Catalog, "commit" | "holders">;
  readonly #timers: Timers;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #published: (presence: Presence) => void;
  readonly #stop = new AbortController();
  #waiting: Presence[] = [];
  #running: Promise<void> | undefined;
  #failingSince: number | undefined;
  #publishedAt = Number.NEGATIVE_INFINITY;

  constructor(options: {
    catalog: Pick<Catalog, "commit" | "holders">;
    timers: Timers;
    clock: Clock;
    log: Logger;
    /** Called once the record is in the view. */
    published: (presence: Presence) => void;
  }) {
    this.#catalog = options.catalog;
    this.#timers = options.timers;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#published = options.published;
  }

  /** Milliseconds for which nothing could be published; 0 while all is well. */
  get failingForMs(): number {
    return this.#failingSince === undefined ? 0 : this.#clock.monotonic() - this.#failingSince;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  publish(presence: Presence): void {
    this.#waiting.push(presence);
    this.#running ??= this.#run();
  }

  /** What was not published is found again at the next start: the node says that it has the blob already. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (this.#waiting.length > 0 && !signal.aborted) {
      await this.#timers.sleep(this.#gatherMs(), { signal }).catch(() => {});
      const batch = this.#waiting.slice(0, MAX_CHANGES);
      try {
        // The node may have said so itself meanwhile.
        const news = batch.filter(({ digest, node }) => !this.#catalog.holders(digest).includes(node));
        if (news.length > 0) await this.#catalog.commit(news.map(changeOf), { signal });
        this.#waiting = this.#waiting.slice(batch.length);
        this.#failingSince = undefined;
        this.#publishedAt = this.#clock.monotonic();
        for (const presence of batch) this.#published(presence);
      } catch (error) {
        if (signal.aborted) break;
        this.#failingSince ??= this.#clock.monotonic();
        this.#log.warn("could not publish where blobs are; will try again", { blobs: batch.length, error });
        await this.#timers.sleep(RETRY_MS, { signal }).catch(() => {});
      }
    }
    this.#running = undefined;
  }

  #gatherMs(): number {
    if (this.#waiting.length >= MAX_CHANGES) return 0;
    return Math.max(GATHER_MS, this.#publishedAt + SPACING_MS - this.#clock.monotonic());
  }
}

function changeOf({ digest, size, node }: Presence): Change {
  return { kind: "blob-at-node", digest, node, size, state: "present" };
}
