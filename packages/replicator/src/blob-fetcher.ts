import type { Catalog } from "@meridian/catalog";
import {
  isLinkOpen,
  type NodeWatch,
  nodeName,
  orderHolders,
  type Peers,
  type ProcessAddress,
  parseNodeName,
  type SiteMonitor,
} from "@meridian/cluster";
import { type Digest, isContentError } from "@meridian/oci";
import type { SitePlacement } from "@meridian/policy";
import { type Clock, contextFromTraceparent, type Logger, type Timers, withSpan } from "@meridian/runtime";
import { blobV1 } from "@meridian/wire";
import { type Link, ROOT_CONTEXT, trace } from "@opentelemetry/api";
import type { ReplicatorConfig } from "./config.ts";
import { FairQueue } from "./fair-queue.ts";
import type { PresencePublisher } from "./presence-publisher.ts";
import type { ReplicatorTelemetry } from "./telemetry.ts";
import { isVisible } from "./visible-blobs.ts";
import { BlobRank, Urgency, type WantedBlob } from "./wanted-blob.ts";
import type { WantedBlobs } from "./wanted-blobs.ts";

const tracer = trace.getTracer("@meridian/replicator");

/** A node that did not answer is left out for this long, in milliseconds. */
const AVOIDED_MS = 5_000;
const LOOKS_AT_ONCE = 64;
const STATUS_TIMEOUT_MS = 1_000;
const WAKE_EVERY_MS = 100;
/** How often a blob that waits for a link's window is looked at, milliseconds. */
const WINDOW_LOOK_MS = 30_000;

export interface BlobFetcherOptions {
  readonly config: ReplicatorConfig;
  readonly catalog: Catalog;
  readonly peers: Peers;
  readonly monitor: SiteMonitor;
  /** Which nodes of this site take bytes. */
  readonly watch: Pick<NodeWatch, "takers">;
  readonly wanted: WantedBlobs;
  /** What this site keeps of a repository. */
  readonly placement: (repository: string) => SitePlacement;
  readonly publisher: PresencePublisher;
  readonly telemetry: ReplicatorTelemetry;
  /** Told of each blob that landed: the site and the bytes that crossed. */
  readonly landed: (from: string, bytes: number) => void;
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
  /** Blobs that would come from a site which has as many fetches as it may, by that site. */
  readonly #parked = new Map<string, FairQueue>();
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
    queueMicrotask(() => this.#look());
  }

  /** Ends the fetch of a blob that nobody needs any more. */
  drop(digest: Digest): void {
    const running = this.#running.get(digest);
    const { peers, log } = this.#options;
    const address = running && peers.process(peers.topology.site, parseNodeName(running.node)?.process ?? "");
    if (address === undefined) return;
    const options = { timeoutMs: STATUS_TIMEOUT_MS, signal: this.#stop.signal };
    const dropping = peers.client(blobV1.BlobNodeService, address).dropFetch({ digest }, options);
    dropping.catch((error: unknown) => log.debug("a fetch could not be dropped", { digest, error }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#waking?.[Symbol.dispose]();
    await Promise.all(this.#ending);
  }

  #look(): void {
    this.#due = false;
    if (this.#stop.signal.aborted) return;
    const { wanted } = this.#options;
    for (const [site, parked] of this.#parked) {
      for (let blob = this.#takeFor(site, parked); blob !== undefined; blob = this.#takeFor(site, parked))
        this.#begin(blob);
    }
    // What came in meanwhile for a site that is not busy lies behind what has to wait for a busy one.
    for (let looked = 0; this.#running.size < this.#most; looked++) {
      const blob = looked < LOOKS_AT_ONCE ? wanted.take() : undefined;
      if (looked === LOOKS_AT_ONCE) this.#wakeAfter(0);
      if (blob === undefined) return;
      this.#begin(blob);
    }
  }

  get #most(): number {
    const { config, peers } = this.#options;
    return config.fetchesPerSite * (peers.topology.sites.length - 1);
  }

  #takeFor(site: string, parked: FairQueue): WantedBlob | undefined {
    const blob = this.#isBusy(site) ? undefined : parked.pop();
    if (blob !== undefined) blob.state = "fetching";
    return blob;
  }

  #isBusy(site: string): boolean {
    let fetches = 0;
    for (const { from } of this.#running.values()) if (from === site) fetches += 1;
    return fetches >= this.#options.config.fetchesPerSite;
  }

  /** It keeps its place among those that wait for the site. */
  #park(site: string, blob: WantedBlob): void {
    const parked = this.#parked.get(site) ?? new FairQueue();
    this.#parked.set(site, parked);
    blob.state = "ready";
    parked.push(blob);
  }

  /** Puts a blob aside for a while after a failure. */
  #rest(blob: WantedBlob): void {
    this.#options.wanted.failed(blob);
    this.#wakeAfter(0);
  }

  /** Every holder's bytes are wrong: a matter for an operator. */
  #poisoned(blob: WantedBlob, holders: readonly string[], error: unknown): void {
    const { wanted, telemetry, log } = this.#options;
    wanted.poisoned(blob);
    telemetry.poisoned();
    this.#wakeAfter(0);
    const { digest, repositories } = blob;
    log.error("every holder has wrong bytes of a blob: it is left alone until somebody pushes it again", {
      ...{ digest, holders, repositories: [...repositories], error },
    });
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

  /** Starts to fetch it, or puts it where it has to wait. */
  #begin(blob: WantedBlob): void {
    const { catalog, monitor, peers, wanted, placement } = this.#options;
    const { topology } = peers;
    const visible = [...blob.repositories].some(
      (repository) => placement(repository) !== "never" && isVisible(catalog, repository, blob.digest),
    );
    const known = catalog.holders(blob.digest);
    if (!visible || known.some((holder) => parseNodeName(holder)?.site === topology.site)) {
      wanted.drop(blob.digest);
      return;
    }
    const { ordered: everyone } = orderHolders({ holders: known, monitor, topology });
    if (everyone.length === 0) {
      wanted.homeless(blob);
      return;
    }
    const ordered = everyone.filter((holder) => this.#mayCross(holder, blob));
    const sites = [...new Set(ordered.map((holder) => parseNodeName(holder)!.site))];
    const [nearest] = sites;
    if (nearest === undefined) {
      wanted.rest(blob, WINDOW_LOOK_MS);
      this.#wakeAfter(WINDOW_LOOK_MS);
      return;
    }
    blob.source = nearest;
    const node = this.#owner(blob.digest);
    if (this.#isBusy(nearest)) this.#park(nearest, blob);
    else if (node === undefined) this.#rest(blob);
    else this.#run(blob, node, { from: nearest, holders: ordered });
  }

  /** Manifests, and what a client waits for, cross at any time. */
  #mayCross(holder: string, { rank, urgency }: WantedBlob): boolean {
    const { config, clock } = this.#options;
    if (rank === BlobRank.manifest || urgency === Urgency.pulled) return true;
    return isLinkOpen(config.links, parseNodeName(holder)!.site, clock.now());
  }

  #run(blob: WantedBlob, node: ProcessAddress, { from, holders }: { from: string; holders: readonly string[] }): void {
    const running = { digest: blob.digest, size: blob.size, node: nodeName(node), from };
    this.#running.set(blob.digest, running);
    const fetching = withSpan(tracer, "replicate.fetch", { parent: ROOT_CONTEXT, links: pushOf(blob) }, () =>
      this.#fetch(blob, node, holders),
    );
    const ending = fetching.finally(() => {
      this.#running.delete(blob.digest);
      this.#ending.delete(ending);
      this.wake();
    });
    this.#ending.add(ending);
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
    const { peers, wanted, publisher, telemetry, landed, config, log } = this.#options;
    const priority = priorityOf(blob);
    const { signal } = this.#stop;
    try {
      const { size, fetchedBytes } = await peers
        .client(blobV1.BlobNodeService, node)
        .fetch(
          { digest: blob.digest, size: BigInt(blob.size), holders: [...holders], priority },
          { timeoutMs: config.fetchTimeoutMs, signal },
        );
      telemetry.fetched(parseNodeName(holders[0]!)!.site, Number(fetchedBytes));
      landed(parseNodeName(holders[0]!)!.site, Number(fetchedBytes));
      wanted.landed(blob);
      publisher.publish({ digest: blob.digest, size: Number(size), node: nodeName(node) });
    } catch (error) {
      if (signal.aborted) return;
      telemetry.failed(parseNodeName(holders[0]!)!.site);
      if (isContentError(error, "digest-mismatch")) {
        this.#poisoned(blob, holders, error);
        return;
      }
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

/** What was pulled passes the windows of links, as a pull does; the slots of those who wait stay free for them. */
function priorityOf({ rank, urgency }: WantedBlob): blobV1.FetchPriority {
  const { METADATA, BACKGROUND } = blobV1.FetchPriority;
  return rank === BlobRank.layer && urgency !== Urgency.pulled ? BACKGROUND : METADATA;
}

/** The trace of the push: fetching is work of its own that the push led to, often long after it was answered. */
function pushOf({ traceparent }: WantedBlob): Link[] {
  const context = trace.getSpanContext(contextFromTraceparent(traceparent));
  return context === undefined ? [] : [{ context }];
}
