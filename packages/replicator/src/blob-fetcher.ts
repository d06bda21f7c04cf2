import type { Catalog } from "@meridian/catalog";
import {
  type NodeWatch,
  nodeName,
  orderHolders,
  type Peers,
  type ProcessAddress,
  parseNodeName,
  type SiteMonitor,
} from "@meridian/cluster";
import { type Digest, isContentError } from "@meridian/oci";
import { type Clock, contextFromTraceparent, type Logger, type Timers, withSpan } from "@meridian/runtime";
import { blobV1 } from "@meridian/wire";
import { type Link, ROOT_CONTEXT, trace } from "@opentelemetry/api";
import type { ReplicatorConfig } from "./config.ts";
import type { PresencePublisher } from "./presence-publisher.ts";
import type { ReplicatorTelemetry } from "./telemetry.ts";
import { isVisible } from "./visible-blobs.ts";
import { BlobRank, type WantedBlob } from "./wanted-blob.ts";
import type { WantedBlobs } from "./wanted-blobs.ts";

const tracer = trace.getTracer("@meridian/replicator");

/** A node that did not answer is left out for this long, in milliseconds. */
const AVOIDED_MS = 5_000;
const STATUS_TIMEOUT_MS = 1_000;
const WAKE_EVERY_MS = 100;

export interface BlobFetcherOptions {
  readonly config: ReplicatorConfig;
  readonly catalog: Catalog;
  readonly peers: Peers;
  readonly monitor: SiteMonitor;
  /** Which nodes of this site take bytes. */
  readonly watch: Pick<NodeWatch, "takers">;
  readonly wanted: WantedBlobs;
  readonly publisher: PresencePublisher;
  readonly telemetry: ReplicatorTelemetry;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
}

/** A fetch under way. */
export interface RunningFetch {
  readonly digest: Digest;
  readonly size: number;
  /** The node of this site that stores it. */
  readonly node: string;
  /** The site that it most likely comes from. */
  readonly from: string;
}

/**
 * Has wanted blobs fetched by the nodes of this site that own them: a few at once from each other site, never the same
 * one twice. A blob node asks the holders in the order given, and starts over where one breaks off.
 */
export class BlobFetcher implements AsyncDisposable {
  readonly #options: BlobFetcherOptions;
  readonly #running = new Map<Digest, RunningFetch>();
  readonly #ending = new Set<Promise<void>>();
  readonly #avoided = new Map<string, number>();
  readonly #stop = new AbortController();
  #waking: Disposable | undefined;
  #wakingAt = Number.POSITIVE_INFINITY;
  #due = false;

  constructor(options: BlobFetcherOptions) {
    this.#options = options;
  }

  get running(): readonly RunningFetch[] {
    return [...this.#running.values()];
  }

  /** There may be something to fetch: looks once, however often it is called in a turn. */
  wake(): void {
    if (this.#due || this.#stop.signal.aborted) return;
    this.#due = true;
    queueMicrotask(() => {
      this.#due = false;
      this.#fill();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#waking?.[Symbol.dispose]();
    await Promise.all(this.#ending);
  }

  /** Starts fetches until every site has as many as it may; those that must wait for a site stay in the queue. */
  #fill(): void {
    if (this.#stop.signal.aborted) return;
    const { wanted, config, peers } = this.#options;
    const most = config.fetchesPerSite * (peers.topology.sites.length - 1);
    const waiting: WantedBlob[] = [];
    // A bound on those passed over, so that one busy site does not make every look a long one.
    while (this.#running.size < most && waiting.length < 4 * most) {
      const blob = wanted.take();
      if (blob === undefined) break;
      if (!this.#begin(blob)) waiting.push(blob);
    }
    for (const blob of waiting) wanted.putBack(blob);
  }

  /** Puts a blob aside for a while after a failure. */
  #rest(blob: WantedBlob): void {
    this.#options.wanted.failed(blob);
    this.#wakeAfter(0);
  }

  /** Looks for blobs that have rested enough, at most ten times a second however many rest. */
  #wakeAfter(ms: number): void {
    const { timers, clock, wanted } = this.#options;
    const dueAt = clock.monotonic() + Math.max(ms, WAKE_EVERY_MS);
    if (dueAt >= this.#wakingAt || this.#stop.signal.aborted) return;
    this.#waking?.[Symbol.dispose]();
    this.#wakingAt = dueAt;
    this.#waking = timers.after(Math.max(ms, WAKE_EVERY_MS), () => {
      this.#wakingAt = Number.POSITIVE_INFINITY;
      const untilNextMs = wanted.wakeRested();
      if (untilNextMs !== undefined) this.#wakeAfter(untilNextMs);
      this.wake();
    });
  }

  /** False when the site that it would come from has as many fetches as it may. */
  #begin(blob: WantedBlob): boolean {
    const { catalog, monitor, peers, wanted, config } = this.#options;
    const { topology } = peers;
    const visible = [...blob.repositories].some((repository) => isVisible(catalog, repository, blob.digest));
    const known = catalog.holders(blob.digest);
    if (!visible || known.some((holder) => parseNodeName(holder)?.site === topology.site)) {
      wanted.drop(blob.digest);
      return true;
    }
    const { ordered } = orderHolders({ holders: known, monitor, topology });
    const from = ordered.map((holder) => parseNodeName(holder)!.site)[0];
    if (from === undefined) {
      wanted.homeless(blob);
      return true;
    }
    if (this.running.filter((fetch) => fetch.from === from).length >= config.fetchesPerSite) return false;
    const node = this.#owner(blob.digest);
    if (node === undefined) {
      this.#rest(blob);
      return true;
    }
    const running = { digest: blob.digest, size: blob.size, node: nodeName(node), from };
    this.#running.set(blob.digest, running);
    const fetching = withSpan(tracer, "replicate.fetch", { parent: ROOT_CONTEXT, links: pushOf(blob) }, () =>
      this.#fetch(blob, node, ordered),
    );
    const ending = fetching.finally(() => {
      this.#running.delete(blob.digest);
      this.#ending.delete(ending);
      this.wake();
    });
    this.#ending.add(ending);
    return true;
  }

  /** The node of this site that a blob belongs on: the first of its ranking that answers. */
  #owner(digest: Digest): ProcessAddress | undefined {
    const { peers, clock, watch } = this.#options;
    const ranked = watch.takers(digest);
    const answering = ranked.find((name) => (this.#avoided.get(name) ?? -Infinity) <= clock.monotonic());
    const chosen = answering ?? ranked[0];
    return chosen === undefined ? undefined : peers.process(peers.topology.site, parseNodeName(chosen)?.process ?? "");
  }

  async #fetch(blob: WantedBlob, node: ProcessAddress, holders: readonly string[]): Promise<void> {
    const { peers, wanted, publisher, telemetry, config, log } = this.#options;
    const { METADATA, BACKGROUND } = blobV1.FetchPriority;
    const priority = blob.rank === BlobRank.layer ? BACKGROUND : METADATA;
    const { signal } = this.#stop;
    try {
      const { size, fetchedBytes } = await peers
        .client(blobV1.BlobNodeService, node)
        .fetch(
          { digest: blob.digest, size: BigInt(blob.size), holders: [...holders], priority },
          { timeoutMs: config.fetchTimeoutMs, signal },
        );
      telemetry.fetched(parseNodeName(holders[0]!)!.site, Number(fetchedBytes));
      wanted.landed(blob);
      publisher.publish({ digest: blob.digest, size: Number(size), node: nodeName(node) });
    } catch (error) {
      if (signal.aborted) return;
      telemetry.failed(parseNodeName(holders[0]!)!.site);
      this.#rest(blob);
      const fields = { node: nodeName(node), holders, failures: blob.failures, error };
      if (blob.failures === 1) log.warn("a blob could not be fetched; will try again", fields);
      else log.debug("a blob could still not be fetched", fields);
      if (isContentError(error, "unavailable")) await this.#question(node);
    }
  }

  /** Was it the node itself, or the holders? A node that does not answer is left out for a while. */
  async #question(node: ProcessAddress): Promise<void> {
    const { peers, clock, log } = this.#options;
    try {
      const options = { timeoutMs: STATUS_TIMEOUT_MS, signal: this.#stop.signal };
      await peers.client(blobV1.BlobNodeService, node).status({}, options);
      this.#avoided.delete(nodeName(node));
    } catch (error) {
      this.#avoided.set(nodeName(node), clock.monotonic() + AVOIDED_MS);
      log.warn("a blob node of this site does not answer", { node: nodeName(node), error });
    }
  }
}

/** The trace of the push: fetching is work of its own that the push led to, often long after it was answered. */
function pushOf({ traceparent }: WantedBlob): Link[] {
  const context = trace.getSpanContext(contextFromTraceparent(traceparent));
  return context === undefined ? [] : [{ context }];
}
