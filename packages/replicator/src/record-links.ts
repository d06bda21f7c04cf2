import type { Catalog } from "@meridian/catalog";
import { type Peers, Role, type SiteMonitor } from "@meridian/cluster";
import type { EventLogs } from "@meridian/eventlog";
import { type Copier, type CopierStatus, createLogTailService, type ReaderReport, startCopier } from "@meridian/link";
import type { RpcServer, ServiceClient } from "@meridian/rpc";
import type { Clock, Logger, Random, Timers } from "@meridian/runtime";
import { linkV1 } from "@meridian/wire";

export interface RecordLinksOptions {
  readonly peers: Peers;
  readonly monitor: SiteMonitor;
  readonly logs: EventLogs;
  readonly catalog: Pick<Catalog, "foldedPosition"> & Partial<StreamFinder & RecordAdopter>;
  readonly rpc: RpcServer;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly log: Logger;
  readonly relayAfterMs: number;
  /** Called with what a peer says that it holds of this site's own log. */
  readonly onReport: (site: string, report: ReaderReport) => void;
}

/** A catalog that can be told that a copy has come to be, instead of finding it itself. */
export interface StreamFinder {
  lookForStreams(): Promise<void>;
}

/** A catalog that can publish again what a peer's log has lost. */
export interface RecordAdopter {
  adopt(origin: string, payloads: readonly Uint8Array[]): Promise<void>;
}

/** One copier per peer, and the LogTail service for theirs. */
export class RecordLinks implements AsyncDisposable {
  readonly #options: RecordLinksOptions;
  readonly #copiers: readonly Copier[];
  readonly #reports = new Map<string, ReaderReport>();
  #turn = 0;

  /** Registers the service, so it must be made before the server listens. */
  constructor(options: RecordLinksOptions) {
    this.#options = options;
    const { peers, logs, timers, log, rpc } = options;
    const { site, sites } = peers.topology;
    const onReport = (reader: string, origin: string, report: ReaderReport): void => {
      if (origin !== site) return;
      this.#reports.set(reader, report);
      options.onReport(reader, report);
    };
    const service = createLogTailService({ site, members: sites, logs, timers, log, onReport });
    rpc.register(linkV1.LogTailService, service, {
      allow: (peer) => sites.includes(peer.site) && (peer.service === Role.replicator || peer.service === "site"),
    });
    this.#copiers = sites.filter((member) => member !== site).map((origin) => this.#copy(origin));
  }

  /** How each peer's log is copied into this site. */
  get copies(): readonly CopierStatus[] {
    return this.#copiers.map((copier) => copier.status());
  }

  /** What each peer holds of this site's own log, as it last said. */
  get reports(): ReadonlyMap<string, ReaderReport> {
    return this.#reports;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#copiers.map((copier) => copier[Symbol.asyncDispose]()));
  }

  #copy(origin: string): Copier {
    const { peers, monitor, catalog, logs, clock, timers, random, log, relayAfterMs } = this.#options;
    return startCopier({
      site: peers.topology.site,
      origin,
      logs,
      client: () => this.#client(origin),
      relays: () =>
        monitor.live().flatMap((site) => {
          const client = site === origin ? undefined : this.#client(site);
          return client === undefined ? [] : [{ site, client }];
        }),
      onCreated: () =>
        void catalog.lookForStreams?.().catch((error: unknown) => log.debug("no look for streams", { error })),
      folded: () => catalog.foldedPosition(origin),
      ...(catalog.adopt !== undefined && { adopt: catalog.adopt.bind(catalog) }),
      relayAfterMs,
      clock,
      timers,
      random,
      log,
    });
  }

  /** A replicator of the site, another one at each call when it has several. */
  #client(site: string): ServiceClient<typeof linkV1.LogTailService> | undefined {
    const { peers } = this.#options;
    const listed = peers.processes(Role.replicator, site);
    const address = listed[this.#turn++ % listed.length];
    return address && peers.client(linkV1.LogTailService, address);
  }
}
