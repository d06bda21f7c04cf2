import { type OpenCatalog, openCatalog } from "@meridian/catalog";
import { createMemoryDisk, type MemoryDisk, openMemoryLogs } from "@meridian/eventlog/memory";
import type { OrderedStore } from "@meridian/keyvalue";
import { createHeldService, createLogTailService, startCopier } from "@meridian/link";
import { LogRestorer } from "@meridian/replicator";
import type { Clock, Logger } from "@meridian/runtime";
import { StoreFile } from "./crashing-store.ts";
import type { Network } from "./network.ts";
import { type Watcher, watchedLogs } from "./watched-logs.ts";
import { clockOf, Life, type World } from "./world.ts";

/** How a process ends that does not end by itself. */
export type Death = "kill" | "power loss";

/** What a site shows while its process runs. */
export interface RunningSite {
  readonly catalog: OpenCatalog;
  readonly view: OrderedStore;
  readonly life: Life;
}

/**
 * A site of the simulation: the catalog, the embedded log driver, the LogTail service and a copier per peer, all of
 * them the real ones, in one process with disks in memory. It can die at any moment and starts again from its disks.
 */
export class Site {
  readonly name: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly alarms: string[] = [];
  skewMs = 0;
  /** True while it is to lose its disk: no new writes are sent to it. */
  losing = false;
  running: RunningSite | undefined;
  readonly #world: World;
  readonly #network: Network;
  readonly #sites: readonly string[];
  readonly #watcher: Watcher;
  readonly #disk: MemoryDisk = createMemoryDisk();
  readonly #view = new StoreFile();
  readonly #outbox = new StoreFile();
  #life: Life | undefined;
  #powerLost = false;
  #starting: Promise<void> = Promise.resolve();

  constructor(
    name: string,
    { world, network, sites, watcher }: { world: World; network: Network; sites: readonly string[]; watcher: Watcher },
  ) {
    this.name = name;
    this.#world = world;
    this.#network = network;
    this.#sites = sites;
    this.#watcher = watcher;
    this.clock = clockOf(world, () => this.skewMs);
    const note = (message: string): void => void this.alarms.push(message);
    const log: Logger = { debug() {}, info() {}, warn: note, error: note, child: () => log };
    this.log = log;
  }

  /** True while its process lives, whether or not it has finished to start. */
  get up(): boolean {
    return this.#life !== undefined;
  }

  start(): void {
    if (this.#life !== undefined) return;
    const life = new Life(this.#world);
    this.#life = life;
    if (this.#powerLost) this.#losePower();
    this.#starting = this.#open(life);
  }

  /** Dies after so many more persistence points: in the middle of what it writes then. */
  dieAfter(points: number, death: Death, then: () => void): void {
    const life = this.#life;
    if (life === undefined) return;
    life.pointsLeft = points;
    life.onDeath(() => {
      this.die(death);
      then();
    });
  }

  die(death: Death): void {
    if (this.#life === undefined) return;
    this.#life.alive = false;
    this.#life = undefined;
    this.running = undefined;
    this.#powerLost = death === "power loss";
    this.#network.died(this.name, { silently: this.#powerLost && this.#world.chance(50) });
  }

  /** The log as it is now, for {@link Site.loseLog}. */
  backUpLog(): unknown {
    return this.#disk.backUp();
  }

  /** While it is down: the log is what it was at the backup, or gone. */
  loseLog(backup?: unknown): void {
    this.#powerLost = false;
    if (backup === undefined) this.#disk.wipe();
    else this.#disk.restore(backup);
  }

  /** While it is down: forgets everything. */
  loseEverything(): void {
    this.loseLog();
    this.#outbox.wipe();
    this.#view.wipe();
  }

  /** While it is down: forgets what was folded. */
  dropView(): void {
    this.#view.wipe();
  }

  /** Rejects when the start failed, which no death does. */
  async started(): Promise<void> {
    await this.#starting;
  }

  /** Now, and not when it died: what ran in the very turn of its death has ended. */
  #losePower(): void {
    this.#powerLost = false;
    this.#disk.losePower(this.#world.integer(0, this.#disk.unsynced + 1));
    this.#outbox.losePower(this.#world.integer(0, 3));
    this.#view.wipe();
  }

  async #open(life: Life): Promise<void> {
    const { name: site, clock, log } = this;
    const timers = life.timers();
    const timing = { beforeCommit: () => life.persistencePoint(), beforeSync: () => life.persistencePoint() };
    const random = this.#world.random();
    const opened = await openMemoryLogs({
      disk: this.#disk,
      timing,
      site,
      writer: `${site}/site`,
      clock,
      random,
      timers,
    });
    const view = await this.#view.open(life);
    const outbox = await this.#outbox.open(life);
    const logs = watchedLogs(opened, site, this.#watcher, view);
    const common = { site, logs, clock, timers, random, log };
    const catalog = await openCatalog({
      ...common,
      writer: "site",
      serving: true,
      alone: true,
      restores: true,
      view,
      outbox,
    });
    const onReport = (
      reader: string,
      origin: string,
      report: { copied?: Parameters<typeof catalog.reportCopied>[1] },
    ) => {
      if (origin === site && report.copied !== undefined) catalog.reportCopied(reader, report.copied);
    };
    const service = createLogTailService({
      site,
      members: () => this.#sites,
      logs,
      timers,
      log,
      onReport,
      own: catalog.life,
    });
    this.#network.listen(site, { life, service, held: createHeldService({ members: () => this.#sites, logs }) });
    const members = this.#sites.filter((other) => other !== site);
    new LogRestorer({
      ...common,
      life: catalog.life,
      adopt: (peer, payloads) => catalog.adopt(peer, payloads),
      members: () => members.map((member) => ({ site: member, client: this.#network.heldClient(site, member, life) })),
    });
    for (const origin of this.#sites) {
      if (origin === site) continue;
      const others = this.#sites.filter((other) => other !== site && other !== origin);
      startCopier({
        ...common,
        origin,
        client: () => this.#network.client(site, origin, life),
        relays: () => others.map((relay) => ({ site: relay, client: this.#network.client(site, relay, life) })),
        folded: () => catalog.foldedPosition(origin),
        adopt: (peer, payloads) => catalog.adopt(peer, payloads),
        onCreated: () => void catalog.lookForStreams(),
      });
    }
    this.running = { catalog, view, life };
  }
}
