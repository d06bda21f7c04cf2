import type { GenService, GenServiceMethods } from "@bufbuild/protobuf/codegenv2";
import type { Catalog, LogLife } from "@meridian/catalog";
import { type Peers, Role, type SiteMonitor } from "@meridian/cluster";
import type { EventLogs } from "@meridian/eventlog";
import {
  type Copier,
  type CopierStatus,
  createHeldService,
  createLogTailService,
  type ReaderReport,
  startCopier,
} from "@meridian/link";
import type { RpcServer, ServiceClient } from "@meridian/rpc";
import type { Clock, Logger, PeerIdentity, Random, Timers } from "@meridian/runtime";
import { linkV1 } from "@meridian/wire";
import type { AskedMember } from "./held-by-members.ts";
import { LogRestorer } from "./log-restorer.ts";

export interface RecordLinksOptions {
  readonly peers: Peers;
  readonly monitor: SiteMonitor;
  readonly logs: EventLogs;
  readonly catalog: Pick<Catalog, "foldedPosition"> &
    Partial<StreamFinder & RecordAdopter & { readonly life: LogLife }>;
  readonly rpc: RpcServer;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly log: Logger;
  readonly relayAfterMs: number;
  /** Called when the site's log has again what it had lost. */
  readonly restored?: () => void;
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

/**
 * The LogTail service for the peers' copiers, and, in the one replicator of the site that does its work, a copier per peer
 * and whoever restores a lost log.
 */
export class RecordLinks {
  readonly #options: RecordLinksOptions;
  #copiers: readonly Copier[] = [];
  readonly #reports = new Map<string, ReaderReport>();
  #turn = 0;

  /** Registers the services, so it must be made before the server listens. */
  constructor(options: RecordLinksOptions) {
    this.#options = options;
    const { catalog, peers, logs, timers, log, rpc } = options;
    const { site, sites } = peers.topology;
    const onReport = (reader: string, origin: string, report: ReaderReport): void => {
      if (origin !== site) return;
      this.#reports.set(reader, report);
      options.onReport(reader, report);
    };
    const service = createLogTailService({ site, members: sites, logs, timers, log, onReport, own: catalog.life });
    const allow = (peer: PeerIdentity): boolean =>
      sites.includes(peer.site) && (peer.service === Role.replicator || peer.service === "site");
    rpc.register(linkV1.LogTailService, service, { allow });
    rpc.register(linkV1.HeldService, createHeldService({ members: sites, logs }), { allow });
  }

  /** Begins to copy the peers' logs, until disposed. One at a time. */
  begin(): AsyncDisposable {
    const { site, sites } = this.#options.peers.topology;
    const restorer = this.#restore();
    const copiers = sites.filter((member) => member !== site).map((origin) => this.#copy(origin));
    this.#copiers = copiers;
    return {
      [Symbol.asyncDispose]: async () => {
        this.#copiers = [];
        await Promise.all([...copiers, restorer].map((part) => part?.[Symbol.asyncDispose]()));
      },
    };
  }

  /** How each peer's log is copied into this site; none while another replicator does it. */
  get copies(): readonly CopierStatus[] {
    return this.#copiers.map((copier) => copier.status());
  }

  /** What each peer holds of this site's own log, as it last said. */
  get reports(): ReadonlyMap<string, ReaderReport> {
    return this.#reports;
  }

  #restore(): LogRestorer | undefined {
    const { catalog, peers } = this.#options;
    const { adopt, life } = catalog;
    if (!life?.restores || adopt === undefined) return undefined;
    const { site } = peers.topology;
    const members = (): AskedMember[] =>
      peers.topology.sites
        .filter((one) => one !== site)
        .map((one) => ({ site: one, client: this.#client(one, linkV1.HeldService) }));
    return new LogRestorer({ ...this.#options, site, life, adopt: adopt.bind(catalog), members });
  }

  #copy(origin: string): Copier {
    const { peers, monitor, catalog, logs, clock, timers, random, log, relayAfterMs } = this.#options;
    return startCopier({
      site: peers.topology.site,
      origin,
      logs,
      client: () => this.#client(origin, linkV1.LogTailService),
      relays: () =>
        monitor.live().flatMap((site) => {
          const client = site === origin ? undefined : this.#client(site, linkV1.LogTailService);
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
  #client<M extends GenServiceMethods>(site: string, service: GenService<M>): ServiceClient<GenService<M>> | undefined {
    const { peers } = this.#options;
    const listed = peers.processes(Role.replicator, site);
    const address = listed[this.#turn++ % listed.length];
    return address && peers.client(service, address);
  }
}
