import type { Catalog } from "@meridian/catalog";
import type { Peers, SiteMonitor, Topology } from "@meridian/cluster";
import type { Cursor, EventLogs } from "@meridian/eventlog";
import type { CopierStatus, ReaderReport } from "@meridian/link";
import { ContentError, type Digest } from "@meridian/oci";
import { isRestricted, type PlacementSettings, type SitePlacement } from "@meridian/policy";
import type { RpcServer } from "@meridian/rpc";
import type { Clock, HealthCheck, Logger, Random, Timers } from "@meridian/runtime";
import { replicationV1 } from "@meridian/wire";
import { BlobFetcher, type RunningFetch } from "./blob-fetcher.ts";
import { BlobTracker } from "./blob-tracker.ts";
import { type CollectionOptions, startCollection } from "./collection/service.ts";
import type { ReplicatorConfig } from "./config.ts";
import { type Copies, startCopies } from "./copies.ts";
import { CopyRepair } from "./copy-repair.ts";
import { startComparisons } from "./diff/service.ts";
import { type CompleteImage, PendingImages } from "./pending-images.ts";
import { PresencePublisher } from "./presence-publisher.ts";
import { type RecordAdopter, RecordLinks, type StreamFinder } from "./record-links.ts";
import { ReferenceReader } from "./reference-reader.ts";
import { type LinkState, ReplicationProgress } from "./replication-progress.ts";
import { createReplicationService } from "./replication-service.ts";
import { createResidency, type Residency } from "./residency.ts";
import { ResidencySweep } from "./residency-sweep.ts";
import { createReplicatorTelemetry } from "./telemetry.ts";
import { WantedBlobs, type WantedCounts } from "./wanted-blobs.ts";

/** The catalog, with what a replicator uses when it has it. */
export type ReplicatorCatalog = Catalog &
  Partial<StreamFinder & RecordAdopter> & {
    /** Told what a peer durably holds of this site's own log: such entries may leave the outbox. */
    reportCopied?(site: string, copied: Cursor): void;
  };

export interface ReplicatorDeps {
  readonly topology: Topology;
  readonly peers: Peers;
  readonly monitor: SiteMonitor;
  readonly logs: EventLogs;
  readonly catalog: ReplicatorCatalog;
  /** The LogTail service is registered here: start the replicator before it listens. */
  readonly rpc: RpcServer;
  /** What the policy sets for repositories: which bytes this site keeps. */
  readonly settings: PlacementSettings;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly log: Logger;
  /** Whole content of a small blob (a manifest) that a node of this site holds. @throws ContentError. */
  readonly readBlob: (digest: Digest, options: { signal: AbortSignal }) => Promise<Uint8Array>;
  /** Told each report of a peer about this site's own log, beside the catalog. Default: nobody. */
  readonly onReport?: (site: string, report: ReaderReport) => void;
  /** How what nothing needs is collected; absent: it is not. */
  readonly collection?: Pick<CollectionOptions, "config" | "marks" | "settingsFile">;
}

/** How far replication into this site, and out of it, has come. */
export interface ReplicatorStatus {
  /** How each peer's log is copied. */
  readonly copies: readonly CopierStatus[];
  /** What each peer holds of this site's own log, as it last said. */
  readonly reports: ReadonlyMap<string, ReaderReport>;
  /** Blobs that this site still has to fetch. */
  readonly wanted: WantedCounts;
  readonly fetches: readonly RunningFetch[];
  /** How far the copies inside this site have come to where they belong. */
  readonly settling: Copies["progress"];
  /** True once everything that was visible at start has been looked through. */
  readonly scanned: boolean;
}

/** A running replicator. */
export interface Replicator extends AsyncDisposable {
  readonly checks: readonly HealthCheck[];
  status(): ReplicatorStatus;
  /** Every link into this site; of the blobs that wait only those of one repository, when it is named. */
  progress(repository?: string): LinkState[];
  /** What may be where. */
  readonly residency: Residency;
  /** Somebody pulls an image: what belongs to it goes first. */
  prefer(repository: string, manifest: Digest): void;
}

/** Publishing may fail for this long before the replicator calls itself unready, in milliseconds. */
const PUBLISH_GRACE_MS = 10_000;

/**
 * Copies every peer's records into this site's log, serves this site's own to them, and has missing blobs fetched for as
 * long as any is visible and not here. Returns at once; nothing that is unreachable stops it.
 */
export async function startReplicator(config: ReplicatorConfig, deps: ReplicatorDeps): Promise<Replicator> {
  const { peers, monitor, catalog, clock, timers, random } = deps;
  const log = deps.log.child({ service: "replicator" });
  await using starting = new AsyncDisposableStack();
  const links = new RecordLinks({
    ...deps,
    log,
    relayAfterMs: config.relayAfterMs,
    // A disk that lost the log may have lost the blobs as well.
    restored: () => copies.askNodes(),
    onReport(site, report) {
      if (report.copied !== undefined) catalog.reportCopied?.(site, report.copied);
      deps.onReport?.(site, report);
    },
  });
  const { site } = deps.topology;
  const residency = createResidency({ site, settings: deps.settings, catalog });
  const placement = (repository: string): SitePlacement => residency.placement(repository);
  const mayHold = (digest: Digest): boolean => residency.mayHold(site, digest);
  const wanted = new WantedBlobs({ clock, random, ...config });
  const telemetry = starting.use(
    createReplicatorTelemetry({
      blobs: () => withoutBytes(wanted.counts()),
      lag: () => lagOf(links.copies),
      copies: () => copies.progress,
      links: (): readonly LinkState[] => progress.links(),
    }),
  );
  const published = ({ digest }: { digest: Digest }): void => tracker.arrived(digest);
  const publisher = starting.use(new PresencePublisher({ catalog, clock, timers, log, published }));
  const copies = starting.use(startCopies({ ...deps, log, config }));
  const { watch } = copies;
  if (deps.collection !== undefined)
    starting.use(await startCollection({ ...deps, ...deps.collection, watch, log: log.child({ part: "collection" }) }));
  const progress = starting.use(
    new ReplicationProgress({
      ...{ config, peers, wanted, clock, timers, log },
      fetches: (): readonly RunningFetch[] => fetcher.running,
      copies: () => links.copies,
      scanned: () => tracker.scanned,
    }),
  );
  const landed = (from: string, bytes: number): void => progress.landed(from, bytes);
  const parts = {
    config,
    watch,
    catalog,
    peers,
    monitor,
    wanted,
    placement,
    publisher,
    telemetry,
    landed,
    clock,
    timers,
    log,
  };
  const fetcher = starting.use(new BlobFetcher(parts));
  const learned = (repository: string, digest: Digest): void => tracker.considerManifest(repository, digest);
  const { readBlob } = deps;
  const references = starting.use(new ReferenceReader({ catalog, readBlob, learned, timers, log }));
  const changed = (): void => fetcher.wake();
  const dropped = (digest: Digest): void => fetcher.drop(digest);
  const images = new PendingImages(clock);
  const complete = (image: CompleteImage): void => {
    telemetry.imageComplete();
    log.info("image complete", { event: "image.complete", site, ...image });
    deps.logs.bulletin.publish("event.image.complete", Buffer.from(JSON.stringify({ site, ...image })));
  };
  const { rescanEveryMs } = config;
  const tracker = starting.use(
    new BlobTracker({
      site,
      catalog,
      wanted,
      references,
      images,
      complete,
      placement,
      changed,
      dropped,
      timers,
      log,
      rescanEveryMs,
    }),
  );
  const { rpc } = deps;
  const prefer = (repository: string, manifest: Digest): void => tracker.prefer(repository, manifest);
  rpc.register(
    replicationV1.ReplicationService,
    createReplicationService({ progress, residency, settings: deps.settings, prefer }),
    { allow: (peer, method) => method !== "mayHold" || peer.site === site },
  );
  const { repairEveryMs: everyMs, fetchTimeoutMs } = config;
  const repair = { catalog, peers, monitor, publisher, mayHold, everyMs, fetchTimeoutMs, clock, timers, log };
  starting.use(new CopyRepair(repair));
  starting.use(
    startComparisons({
      ...deps,
      log,
      wanted,
      rescan: () => tracker.rescan(),
      everyMs: config.compareEveryMs,
      repairs: config.compareRepairs,
      retireAfterMs: deps.collection?.config.retireAfterMs ?? Number.MAX_SAFE_INTEGER,
    }),
  );
  const restricted = (): boolean => isRestricted(deps.settings, site);
  const { residencyEveryMs } = config;
  const sweep = { catalog, peers, mayHold, isRestricted: restricted, everyMs: residencyEveryMs, timers, log };
  starting.use(new ResidencySweep(sweep));
  starting.use(
    monitor.subscribe(({ state }) => {
      if (state !== "live") return;
      wanted.wakeAll();
      fetcher.wake();
    }),
  );
  // The last to begin, so that what it brings finds all others.
  starting.use(links.begin());
  const running = starting.move();
  return {
    checks: [{ name: "replicator", check: async () => requirePublishing(publisher) }],
    status: () => ({
      copies: links.copies,
      reports: links.reports,
      wanted: wanted.counts(),
      fetches: fetcher.running,
      settling: copies.progress,
      scanned: tracker.scanned,
    }),
    progress: (repository) => progress.links(repository),
    prefer,
    residency,
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

function requirePublishing(publisher: PresencePublisher): void {
  if (publisher.failingForMs < PUBLISH_GRACE_MS) return;
  const seconds = Math.round(publisher.failingForMs / 1_000);
  throw new ContentError("unavailable", `where ${publisher.waiting} blobs are could not be published for ${seconds} s`);
}

function withoutBytes({ bytes: _bytes, ...states }: WantedCounts): Record<string, number> {
  return states;
}

function lagOf(copies: readonly CopierStatus[]): Record<string, number> {
  return Object.fromEntries(
    copies.map(({ origin, head = 0, copied }) => [origin, Math.max(0, head - (copied?.sequence ?? 0))]),
  );
}
