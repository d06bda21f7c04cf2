import type { Catalog } from "@meridian/catalog";
import { FIXED_MEMBERSHIP, type Membership, type Peers, type SiteMonitor, type Topology } from "@meridian/cluster";
import type { Cursor, EventLogs, Lease } from "@meridian/eventlog";
import type { CopierStatus, ReaderReport } from "@meridian/link";
import type { Digest } from "@meridian/oci";
import type { PlacementSettings } from "@meridian/policy";
import type { RpcServer } from "@meridian/rpc";
import type { Clock, HealthCheck, Logger, PeerIdentity, Random, Timers } from "@meridian/runtime";
import { collectionV1, diffV1, nodeV1, replicationV1 } from "@meridian/wire";
import type { RunningFetch } from "./blob-fetcher.ts";
import type { CollectionOptions } from "./collection/service.ts";
import type { ReplicatorConfig } from "./config.ts";
import type { Copies } from "./copies.ts";
import { HandedOverServices } from "./handed-over-services.ts";
import { HandedOverWork } from "./handed-over-work.ts";
import { type RecordAdopter, RecordLinks, type StreamFinder } from "./record-links.ts";
import type { LinkState } from "./replication-progress.ts";
import { type ReplicatorWork, startReplicatorWork } from "./replicator-work.ts";
import { createResidency, type Residency } from "./residency.ts";
import { WantedBlobs, type WantedCounts } from "./wanted-blobs.ts";

/** The catalog, with what a replicator uses when it has it. */
export type ReplicatorCatalog = Catalog &
  Partial<StreamFinder & RecordAdopter> & {
    /** Told what a peer durably holds of this site's own log: such entries may leave the outbox. */
    reportCopied?(site: string, copied: Cursor): void;
  };

export interface ReplicatorDeps {
  readonly topology: Topology;
  /** Who drains, who left; default: members never change. */
  readonly membership?: Membership;
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
  /** Held by the one of the site's replicators that does the work; the others stand by. Absent: this one does it. */
  readonly duty?: Pick<Lease, "held" | "holder" | "onChanged">;
  /** How what nothing needs is collected; absent: it is not. */
  readonly collection?: Pick<CollectionOptions, "config" | "marks" | "settingsFile" | "settingsLogs">;
}

/** How far replication into this site, and out of it, has come. */
export interface ReplicatorStatus {
  /** How each peer's log is copied. */
  readonly copies: readonly CopierStatus[];
  /** What each peer holds of this site's own log, as it last said. */
  readonly reports: ReadonlyMap<string, ReaderReport>;
  /** Blobs that this site still has to fetch; none while another replicator sees to it. */
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

/**
 * Copies every peer's records into this site's log, serves this site's own to them, and has missing blobs fetched for as
 * long as any is visible and not here; where several replicators share a site, one of them at a time, and all serve.
 * Returns at once; nothing that is unreachable stops it.
 */
export async function startReplicator(config: ReplicatorConfig, deps: ReplicatorDeps): Promise<Replicator> {
  const { catalog, duty = ALWAYS, membership = FIXED_MEMBERSHIP, peers, rpc, settings, timers, topology } = deps;
  const { site } = topology;
  const log = deps.log.child({ service: "replicator" });
  const links = new RecordLinks({
    ...deps,
    log,
    relayAfterMs: config.relayAfterMs,
    // A disk that lost the log may have lost the blobs as well.
    restored: () => work.current?.askNodes(),
    onReport(reader, report) {
      if (report.copied !== undefined) catalog.reportCopied?.(reader, report.copied);
      deps.onReport?.(reader, report);
    },
  });
  const services = new HandedOverServices({ rpc, peers, duty });
  services.offer(replicationV1.ReplicationService, (peer, method) =>
    method === "mayHold" ? peer.site === site : topology.sites.includes(peer.site),
  );
  services.offer(nodeV1.CopyService, (peer) => peer.site === site);
  services.offer(diffV1.ComparisonService, (peer) => peer.site === site);
  services.offer(diffV1.BlobDiffService, (peer) => topology.sites.includes(peer.site) && isReplicator(peer));
  if (deps.collection !== undefined) services.offer(collectionV1.CollectionService, (peer) => peer.site === site);
  const residency = createResidency({ topology, membership, settings, catalog });
  const standing = { links, services, residency, membership, log };
  const start = (): Promise<ReplicatorWork> => startReplicatorWork(config, deps, standing);
  const work = new HandedOverWork({ duty, start, timers, log });
  await work.settled();
  const idle = new WantedBlobs({ ...deps, ...config }).counts();
  return {
    checks: [{ name: "replicator", check: async () => work.current?.check() }],
    status: () => ({
      copies: links.copies,
      reports: links.reports,
      ...(work.current?.status() ?? { wanted: idle, fetches: [], settling: NO_COPIES, scanned: false }),
    }),
    progress: (repository) => work.current?.progress(repository) ?? [],
    prefer: (repository, manifest) => work.current?.prefer(repository, manifest),
    residency,
    [Symbol.asyncDispose]: () => work[Symbol.asyncDispose](),
  };
}

function isReplicator({ service }: PeerIdentity): boolean {
  return service === "replicator" || service === "site";
}

/** Of a site with one replicator. */
const ALWAYS: NonNullable<ReplicatorDeps["duty"]> = {
  held: true,
  holder: undefined,
  onChanged: () => ({ [Symbol.dispose]: () => {} }),
};

const NO_COPIES: Copies["progress"] = { waiting: 0, copied: 0, copiedBytes: 0, removed: 0, failed: 0, scanning: false };
