import type { Membership } from "@meridian/cluster";
import type { CopierStatus } from "@meridian/link";
import { ContentError, type Digest } from "@meridian/oci";
import { isRestricted, type SitePlacement } from "@meridian/policy";
import type { Logger } from "@meridian/runtime";
import { replicationV1 } from "@meridian/wire";
import { BlobFetcher, type RunningFetch } from "./blob-fetcher.ts";
import { BlobTracker } from "./blob-tracker.ts";
import { startCollection } from "./collection/service.ts";
import type { ReplicatorConfig } from "./config.ts";
import { startCopies } from "./copies.ts";
import { CopyRepair } from "./copy-repair.ts";
import { startComparisons } from "./diff/service.ts";
import { DrainWatch } from "./drain-watch.ts";
import type { HandedOverServices } from "./handed-over-services.ts";
import { type CompleteImage, PendingImages } from "./pending-images.ts";
import { PresencePublisher } from "./presence-publisher.ts";
import type { RecordLinks } from "./record-links.ts";
import { ReferenceReader } from "./reference-reader.ts";
import { type LinkState, ReplicationProgress } from "./replication-progress.ts";
import { createReplicationService } from "./replication-service.ts";
import type { Residency } from "./residency.ts";
import { ResidencySweep } from "./residency-sweep.ts";
import type { Replicator, ReplicatorDeps, ReplicatorStatus } from "./service.ts";
import { createReplicatorTelemetry } from "./telemetry.ts";
import { WantedBlobs, type WantedCounts } from "./wanted-blobs.ts";

/** What a replicator has whether or not it does its site's work. */
export interface Standing {
  readonly links: RecordLinks;
  readonly services: HandedOverServices;
  readonly residency: Residency;
  readonly membership: Membership;
  readonly log: Logger;
}

/** The work of a site's replicator, under way. */
export interface ReplicatorWork extends AsyncDisposable, Pick<Replicator, "progress" | "prefer"> {
  /** @throws ContentError `unavailable` while it does not get on. */
  check(): Promise<void>;
  status(): Omit<ReplicatorStatus, "copies" | "reports">;
  /** Has the nodes asked whether they have what the records say. */
  askNodes(): void;
}

/** Publishing may fail for this long before the replicator calls itself unready, in milliseconds. */
const PUBLISH_GRACE_MS = 10_000;

/** Begins the work of a site's replicator. Nothing that is unreachable stops it. */
export async function startReplicatorWork(
  config: ReplicatorConfig,
  deps: ReplicatorDeps,
  { links, services, residency, membership, log }: Standing,
): Promise<ReplicatorWork> {
  const { peers, monitor, catalog, clock, timers, random } = deps;
  await using starting = new AsyncDisposableStack();
  const { site } = deps.topology;
  starting.defer(() => services.clear());
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
  const copies = starting.use(startCopies({ ...deps, placement, rpc: services, log, config }));
  const { watch } = copies;
  if (deps.collection !== undefined)
    starting.use(
      await startCollection({
        ...deps,
        ...deps.collection,
        rpc: services,
        watch,
        log: log.child({ part: "collection" }),
      }),
    );
  const progress = starting.use(
    new ReplicationProgress({
      ...{ config, peers, wanted, clock, timers, log },
      fetches: (): readonly RunningFetch[] => fetcher.running,
      copies: () => links.copies,
      scanned: () => tracker.scanned,
      joined: () => links.joined,
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
  // A site that drains makes others heirs of what only it keeps.
  starting.use(membership.subscribe(() => tracker.rescan()));
  const drain = starting.use(new DrainWatch({ ...deps, membership, reports: () => links.reports, log }));
  const { settings, topology } = deps;
  const prefer = (repository: string, manifest: Digest): void => tracker.prefer(repository, manifest);
  services.register(
    replicationV1.ReplicationService,
    createReplicationService({ progress, residency, settings, topology, prefer, drain: () => drain.look() }),
  );
  const { repairEveryMs: everyMs, fetchTimeoutMs } = config;
  const repair = { catalog, peers, monitor, publisher, mayHold, everyMs, fetchTimeoutMs, clock, timers, log };
  starting.use(new CopyRepair(repair));
  starting.use(
    startComparisons({
      ...deps,
      rpc: services,
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
    check: async () => requirePublishing(publisher),
    status: () => ({
      wanted: wanted.counts(),
      fetches: fetcher.running,
      settling: copies.progress,
      scanned: tracker.scanned,
    }),
    progress: (repository) => progress.links(repository),
    prefer,
    askNodes: () => copies.askNodes(),
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
