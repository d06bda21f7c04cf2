import type { GenService, GenServiceMethods } from "@bufbuild/protobuf/codegenv2";
import type { Catalog, LogLife } from "@meridian/catalog";
import { FIXED_MEMBERSHIP, type Membership, type Peers, Role, type SiteMonitor } from "@meridian/cluster";
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
import { MemberCopies } from "./member-copies.ts";

export interface RecordLinksOptions {
  readonly peers: Peers;
  readonly monitor: SiteMonitor;
  readonly logs: EventLogs;
  readonly catalog: Pick<Catalog, "foldedPosition"> &
    Partial<StreamFinder & RecordAdopter & { readonly life: LogLife }>;
  readonly rpc: RpcServer;
  /** Default: members never change. */
  readonly membership?: Membership;
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

/** A catalog that can publish again what a peer's log has lost, or what one had that has left. */
export interface RecordAdopter {
  adopt(origin: string, payloads: readonly Uint8Array[], mode?: { readonly left?: boolean }): Promise<void>;
}

/**
 * The LogTail service for the peers' copiers, and, in the one replicator of the site that does its work, a copier per peer
 * and whoever restores a lost log.
 */
export class RecordLinks {
  readonly #options: RecordLinksOptions;
  readonly #membership: Membership;
  #copies: MemberCopies | undefined;
  readonly #reports = new Map<string, ReaderReport>();
  /** Where each member's log was when it answered first. */
  readonly #heads = new Map<string, number>();
  #joined = false;
  #turn = 0;

  /** Registers the services, so it must be made before the server listens. */
  constructor(options: RecordLinksOptions) {
    this.#options = options;
    const { catalog, peers, logs, timers, log, rpc, membership = FIXED_MEMBERSHIP } = options;
    const { topology } = peers;
    const { site } = topology;
    const members = (): readonly string[] => topology.sites;
    this.#membership = membership;
    const onReport = (reader: string, origin: string, report: ReaderReport): void => {
      if (origin !== site) return;
      this.#reports.set(reader, report);
      options.onReport(reader, report);
    };
    const service = createLogTailService({ site, members, logs, timers, log, onReport, own: catalog.life });
    const allow = (peer: PeerIdentity): boolean =>
      members().includes(peer.site) && (peer.service === Role.replicator || peer.service === "site");
    rpc.register(linkV1.LogTailService, service, { allow });
    rpc.register(linkV1.HeldService, createHeldService({ members, logs }), { allow });
  }

  /** Begins to copy the peers' logs, until disposed. One at a time. */
  begin(): AsyncDisposable {
    const { peers, catalog } = this.#options;
    const restorer = this.#restore();
    const copies = new MemberCopies({
      ...this.#options,
      topology: peers.topology,
      membership: this.#membership,
      copy: (origin) => this.#copy(origin),
      left: (origin) => void this.#reports.delete(origin),
      adopter: catalog.adopt === undefined ? undefined : (catalog as RecordAdopter),
    });
    this.#copies = copies;
    return {
      [Symbol.asyncDispose]: async () => {
        this.#copies = undefined;
        await Promise.all([copies, restorer].map((part) => part?.[Symbol.asyncDispose]()));
      },
    };
  }

  /** How each peer's log is copied into this site; none while another replicator does it. */
  get copies(): readonly CopierStatus[] {
    return this.#copies?.status ?? [];
  }

  /**
   * True once the log of each member that can be reached was copied and folded up to where it was when it answered first;
   * it stays so. False while none can be reached.
   */
  get joined(): boolean {
    const { monitor, catalog, peers } = this.#options;
    // Nobody else is there whose records could be missing.
    if (this.#joined || peers.topology.sites.length === 1) return true;
    const live = this.copies.filter(({ origin }) => monitor.health(origin).state === "live");
    for (const { origin, head } of live)
      if (head !== undefined && !this.#heads.has(origin)) this.#heads.set(origin, head);
    this.#joined =
      live.length > 0 &&
      live.every(({ origin, copied }) => {
        const head = this.#heads.get(origin);
        const folded = catalog.foldedPosition(origin)?.sequence ?? 0;
        return head !== undefined && (copied?.sequence ?? 0) >= head && (head === 0 || folded > 0);
      });
    return this.#joined;
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
      refusedUntil: () => this.#membership.refusedUntil(origin),
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
