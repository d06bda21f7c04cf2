import type { CatalogReader } from "@meridian/catalog";
import {
  type NodeWatch,
  nodeName,
  orderHolders,
  ownersOf,
  type Peers,
  parseNodeName,
  type RouteCandidate,
  type SiteMonitor,
  type Topology,
} from "@meridian/cluster";
import { ContentError, type Digest, isContentError } from "@meridian/oci";
import type { Clock, Logger, Timers } from "@meridian/runtime";
import type { ByteSink, ByteSpan } from "@meridian/storage";
import {
  type FailoverReadOptions,
  type FailoverReadResult,
  failoverRead,
  type NodeBytes,
  type OpenSpan,
  type ServedBlob,
} from "@meridian/transfer";
import { trace } from "@opentelemetry/api";
import { checkWhole } from "./check-whole.ts";
import type { Lookup } from "./lookup.ts";
import { step } from "./tracing.ts";
import { WrongCopies } from "./wrong-copies.ts";

/** A blob that the catalog shows, wherever its bytes are. */
export interface VisibleBlob {
  readonly digest: Digest;
  readonly size: number;
  /** The site whose write it is: a likely holder, even while no record says so. */
  readonly site: string;
}

/** A blob whose first source has answered. */
export interface OpenedBlob extends AsyncDisposable {
  readonly size: number;
  readonly servedBy: string;
  readonly route: "local" | "stream";
  /** The whole content when it is in memory anyway. */
  readonly bytes?: Uint8Array;
  /** A signed URL of the blob, when one was asked for and a node of this site gives them. */
  readonly link?: string;
  /**
   * Sends a span; a source that dies or stalls is replaced at the offset that was reached. A whole blob that another
   * site sends is hashed on the way and its last piece held back; this site's nodes check what they fetch themselves.
   * @throws ContentError `unavailable` when no source is left, or the bytes were wrong.
   */
  send(span: ByteSpan, sink: ByteSink, signal: AbortSignal): Promise<void>;
}

/** Where a digest's bytes can come from, best first, and why. */
export interface SourceOrder {
  /** Nodes to ask, as site/process: holders of this site, its owning nodes (which fetch from `holders`), then other sites' nodes. */
  readonly sources: readonly string[];
  /** Nodes that say they hold the bytes, best first. */
  readonly holders: readonly string[];
  readonly candidates: readonly RouteCandidate[];
}

/** Finds and reads the bytes of visible blobs. */
export interface BlobSources {
  /** `without`: as if these sites were lost. */
  order(blob: VisibleBlob, without?: ReadonlySet<string>): SourceOrder;
  /** True when some holder is at this site or at one that is not down. */
  reachable(blob: VisibleBlob): boolean;
  /**
   * Opens the blob at the first source that answers. `span` is what will be read first. `linkForMs`: a node of this site
   * may answer with a URL that lives so long.
   * @throws ContentError `unavailable` when no holder can be reached within the time that a passing state is waited out.
   */
  open(
    repository: string,
    blob: VisibleBlob,
    span: OpenSpan,
    signal: AbortSignal,
    linkForMs?: number,
  ): Promise<OpenedBlob>;
  /** The node's copy was found to be wrong: it is not asked for it for a while. */
  distrust(node: string, digest: Digest): void;
}

/** What {@link createBlobSources} needs. */
export interface BlobSourcesOptions {
  readonly topology: Topology;
  readonly peers: Peers;
  readonly monitor: SiteMonitor;
  readonly catalog: Pick<CatalogReader, "holders">;
  readonly bytesOf: (node: string) => NodeBytes | undefined;
  readonly lookup: Lookup;
  /** Which nodes of this site answer, and which take bytes. */
  readonly watch: Pick<NodeWatch, "state" | "takers">;
  /** Blob nodes of a site that keep each blob, for guessing another site's holders. */
  readonly copies: () => number;
  readonly transientWaitMs: number;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
}

/** A holder of this site answers from its disk; an owner that fetches replaces its own holders meanwhile. Milliseconds. */
const LOCAL_OPEN_MS = 2_000;
const FETCHING_OPEN_MS = 10_000;
/** Vain attempts per source while an answer is being sent: with pauses of 50 ms, doubling, a node has 6 s to come back. */
const ATTEMPTS_PER_SOURCE = 8;
const ROUND_PAUSE_MS = 200;

interface SourceParts extends BlobSourcesOptions {
  readonly wrong: WrongCopies;
}

export function createBlobSources(given: BlobSourcesOptions): BlobSources {
  const options: SourceParts = { ...given, wrong: new WrongCopies(given.clock) };
  const order: BlobSources["order"] = (blob, without) => orderSources(blob, options, without);
  return {
    order,
    distrust(node, digest) {
      options.wrong.add(node, digest);
      options.log.error("replica sent wrong bytes and is quarantined", { digest, sources: [node] });
    },
    reachable: (blob) => order(blob).candidates.some(({ excluded, state }) => !excluded && state !== "down"),
    async open(repository, blob, span, signal, linkForMs) {
      const opening = new Opening(blob, { span, signal, linkForMs }, options);
      const first = await opening.first(repository);
      return opened(blob, first, options);
    },
  };
}

function orderSources(
  blob: VisibleBlob,
  { topology, peers, monitor, catalog, copies, watch, wrong }: SourceParts,
  without?: ReadonlySet<string>,
): SourceOrder {
  const known = catalog.holders(blob.digest);
  const writers = peers.processes("blob-node", blob.site).map((one) => ({ node: nodeName(one), zone: one.zone }));
  // The writing site surely holds it, even when the record of which node has not come yet.
  const holders = known.some((node) => siteOf(node) === blob.site)
    ? known
    : [...known, ...ownersOf(blob.digest, writers, copies())];
  const { ordered, candidates } = orderHolders({ holders, monitor, topology, without });
  const isOwn = (node: string): boolean => siteOf(node) === topology.site;
  const here = [...new Set([...ordered.filter(isOwn), ...watch.takers(blob.digest)])];
  // A node that does not answer may be wrongly thought dead: it is asked when nobody else has the blob.
  const isAway = (node: string): boolean => watch.state(node) === "away";
  const every = new Set([...here.filter((node) => !isAway(node)), ...ordered.filter((node) => !isOwn(node)), ...here]);
  const sources = [...every].filter((node) => !wrong.has(node, blob.digest));
  return { sources, holders: ordered, candidates };
}

function siteOf(node: string): string {
  return parseNodeName(node)?.site ?? "";
}

interface First {
  readonly source: string;
  readonly blob: ServedBlob;
}

/** What is asked of a source. */
interface Wanted {
  readonly span: OpenSpan;
  readonly signal: AbortSignal;
  readonly linkForMs?: number | undefined;
}

/** The search for the first source that answers. */
class Opening {
  readonly #blob: VisibleBlob;
  readonly #wanted: Wanted;
  readonly #signal: AbortSignal;
  readonly #options: SourceParts;
  #lastError: ContentError | undefined;

  constructor(blob: VisibleBlob, wanted: Wanted, options: SourceParts) {
    this.#blob = blob;
    this.#wanted = wanted;
    this.#signal = wanted.signal;
    this.#options = options;
  }

  async first(repository: string): Promise<First> {
    const { clock, timers, transientWaitMs, lookup } = this.#options;
    const deadline = clock.monotonic() + transientWaitMs;
    for (let round = 0; ; round++) {
      const found = await this.#round();
      if (found !== undefined) return found;
      // Nobody whom the records name has it: others may have been faster than their records.
      if (round === 0) await lookup.ask(repository, [this.#blob.digest]);
      else if (!this.#mayPass() || clock.monotonic() + ROUND_PAUSE_MS > deadline) throw this.#nobody();
      else await timers.sleep(ROUND_PAUSE_MS, { signal: this.#signal });
    }
  }

  /** Asks each source once; undefined when none can. */
  async #round(): Promise<First | undefined> {
    this.#lastError = undefined;
    const traced = { traced: trace.getActiveSpan()?.isRecording() ?? false };
    const { sources, holders } = step(traced, "route.select", () => orderSources(this.#blob, this.#options));
    for (const source of sources) {
      // Its own node asked the holders and found their bytes wrong.
      if (this.#lastError?.kind === "digest-mismatch" && this.#isFar(source)) continue;
      try {
        const open = () => openAt(source, this.#blob, this.#wanted, holders, this.#options);
        const blob = await step(traced, "blob.open", open);
        if (blob !== undefined) return { source, blob };
      } catch (error) {
        this.#signal.throwIfAborted();
        this.#lastError = isContentError(error)
          ? error
          : new ContentError("unavailable", `${source} failed`, { cause: error });
        this.#options.log.debug("a source of a blob failed", { source, error });
      }
    }
    return undefined;
  }

  #isFar(source: string): boolean {
    return siteOf(source) !== this.#options.topology.site;
  }

  /** A node that is being restarted comes back; a site that is down does not within the time that a client waits. */
  #mayPass(): boolean {
    if (this.#lastError === undefined) return false;
    return orderSources(this.#blob, this.#options).candidates.some(({ state }) => state !== "down");
  }

  #nobody(): ContentError {
    return new ContentError("unavailable", "no holder of the blob can be reached", { cause: this.#lastError });
  }
}

/** Opens at one source, which may fetch from every holder but itself. Undefined when it has and gets none. */
async function openAt(
  source: string,
  blob: VisibleBlob,
  { span, signal, linkForMs }: Wanted,
  holders: readonly string[],
  { bytesOf, timers, topology, monitor }: SourceParts,
): Promise<ServedBlob | undefined> {
  const node = bytesOf(source);
  if (node === undefined) throw new ContentError("unavailable", `there is no way to ${source}`);
  const remote = siteOf(source) !== topology.site;
  // Another site's node answers from its own disk: fetching for this site is for this site's nodes.
  const others = remote ? [] : holders.filter((holder) => holder !== source);
  const read = { holders: others, size: blob.size, span, linkForMs: remote ? undefined : linkForMs };
  // This very process needs no deadline: its disk is waited for, and its fetches replace what stalls.
  if (source === nodeName(topology)) return await node.open(blob.digest, { ...read, signal });
  const late = new AbortController();
  using _deadline = timers.after(holders.includes(source) ? LOCAL_OPEN_MS : FETCHING_OPEN_MS, () =>
    late.abort(new ContentError("unavailable", `${source} did not answer in time`)),
  );
  try {
    return await node.open(blob.digest, { ...read, signal: AbortSignal.any([signal, late.signal]) });
  } catch (error) {
    if (remote && !signal.aborted) monitor.report(siteOf(source), "failed");
    throw error;
  }
}

/** What is linked is never said to be unknown: that every source has lost its copy since it answered may pass. */
async function reading(options: FailoverReadOptions): Promise<FailoverReadResult> {
  try {
    return await failoverRead(options);
  } catch (error) {
    if (!isContentError(error, "not-found")) throw error;
    throw new ContentError("unavailable", "every holder has lost its copy of the blob", { cause: error });
  }
}

function opened(blob: VisibleBlob, first: First, options: SourceParts): OpenedBlob {
  const { clock, timers, log, topology } = options;
  const { size } = first.blob;
  let unread: ServedBlob | undefined = first.blob;
  return {
    size: first.blob.size,
    servedBy: first.blob.servedBy,
    route: first.blob.route,
    bytes: first.blob.bytes,
    link: first.blob.link,
    async send(span, sink, signal) {
      const checking = checkWhole(blob.digest, size, span, sink);
      let lied = false;
      const { sources } = await reading({
        sources: () => {
          const all = [...new Set([first.source, ...orderSources(blob, options).sources])];
          return lied ? all.filter((source) => siteOf(source) === topology.site) : all;
        },
        open: async (source, wanted, openSignal) => {
          const ready = source === first.source ? unread : undefined;
          unread = ready === undefined ? unread : undefined;
          if (ready !== undefined) return ready;
          return await openAt(
            source,
            blob,
            { span: wanted, signal: openSignal },
            orderSources(blob, options).holders,
            options,
          );
        },
        span,
        sink: checking.sink,
        size,
        attemptsPerSource: ATTEMPTS_PER_SOURCE,
        onSourceOpened: (source) => checking.begin(siteOf(source) !== topology.site),
        onSourceFailed: (source, error) => {
          lied ||= error.kind === "digest-mismatch" && siteOf(source) === topology.site;
          log.warn("a source failed while a blob was sent", { source, error });
        },
        clock,
        timers,
        signal,
      });
      await checking.finish().catch((error: unknown) => {
        throw wrongBytes(blob.digest, sources, error, options);
      });
    },
    async [Symbol.asyncDispose]() {
      await unread?.[Symbol.asyncDispose]();
      unread = undefined;
    },
  };
}

/** A lone sender is known to be wrong; of several, none is. */
function wrongBytes(digest: Digest, sources: readonly string[], cause: unknown, { wrong, log }: SourceParts): unknown {
  if (!isContentError(cause, "digest-mismatch")) return cause;
  const [source, ...more] = new Set(sources);
  if (source !== undefined && more.length === 0) wrong.add(source, digest);
  log.error("replica sent wrong bytes and is quarantined", { digest, sources });
  return new ContentError("unavailable", `the bytes that ${sources.join(", ")} sent are wrong`, { cause });
}
