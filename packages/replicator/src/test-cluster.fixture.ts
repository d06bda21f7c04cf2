import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { type OpenCatalog, openCatalog } from "@meridian/catalog";
import {
  nodeName,
  type Peers,
  type ProcessAddress,
  type SiteHealth,
  type SiteMonitor,
  type Topology,
} from "@meridian/cluster";
import { type EventLogs, openEmbeddedLogs } from "@meridian/eventlog";
import { createMemoryStore, type OrderedStore } from "@meridian/keyvalue";
import { ContentError, type Digest, digestOf, parseDigest } from "@meridian/oci";
import { RepositorySettingsTable } from "@meridian/policy";
import { createRpcServer, type RpcServer } from "@meridian/rpc";
import { type Clock, createSystemClock, type Logger, systemRandom, systemTimers, type Timers } from "@meridian/runtime";
import { blobV1, nodeV1 } from "@meridian/wire";
import { type ReplicatorConfig, replicatorConfigSchema } from "./config.ts";
import { registerViewDiff } from "./diff/view-diff-service.ts";
import { type Replicator, startReplicator } from "./service.ts";

export const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };

const FASTER = 10;
const system = createSystemClock();
const clock: Clock = { now: () => system.now(), monotonic: () => system.monotonic() * FASTER };
const timers: Timers = {
  sleep: (ms, options) => systemTimers.sleep(ms / FASTER, options),
  after: (ms, run) => systemTimers.after(ms / FASTER, run),
  every: (ms, run) => systemTimers.every(ms / FASTER, run),
};

export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`not within 10 s: ${what}`);
    await pause(5);
  }
}

/** Sites in one process, joined by links that can be cut; each has one process with all roles that matter here. */
export class TestCluster implements AsyncDisposable {
  readonly topologyOf: (site: string) => Topology;
  readonly sites = new Map<string, TestSite>();
  readonly #cut = new Set<string>();

  private constructor(names: readonly string[]) {
    const processes = names.map((site, index): ProcessAddress => {
      const roles = ["gateway", "blob-node", "replicator"] as const;
      return { site, process: "site", roles, grpc: `h:${index + 1}`, bytes: `https://h:${index + 11}` };
    });
    this.topologyOf = (site) => ({ cluster: "c", site, process: "site", sites: names, processes });
  }

  static async start(names: readonly string[], config: Partial<ReplicatorConfig> = {}): Promise<TestCluster> {
    const cluster = new TestCluster(names);
    for (const name of names) cluster.sites.set(name, await TestSite.start(name, cluster, config));
    for (const site of cluster.sites.values()) await site.replicate();
    return cluster;
  }

  site(name: string): TestSite {
    return this.sites.get(name)!;
  }

  cut(a: string, b: string): void {
    this.#cut.add([a, b].toSorted().join());
    for (const site of [a, b]) this.site(site).monitorChanged(site === a ? b : a);
  }

  heal(a: string, b: string): void {
    this.#cut.delete([a, b].toSorted().join());
    for (const site of [a, b]) this.site(site).monitorChanged(site === a ? b : a);
  }

  requireUp(a: string, b: string): void {
    if (!this.up(a, b)) throw new ContentError("unavailable", `the link ${a}-${b} is cut`);
  }

  up(a: string, b: string): boolean {
    return !this.#cut.has([a, b].toSorted().join());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const site of this.sites.values()) await site[Symbol.asyncDispose]();
  }
}

/** One site: a log in a folder of its own, a catalog, a blob node in memory, and a replicator that can be stopped. */
export class TestSite implements AsyncDisposable {
  readonly name: string;
  readonly blobs = new Map<Digest, Uint8Array>();
  /** Digests in the order in which this site's blob node was asked to fetch them. */
  readonly fetches: Digest[] = [];
  /** Digests whose fetch this site's blob node was told to drop. */
  readonly dropped: Digest[] = [];
  /** What each fetch waits for. */
  gate: Promise<void> = Promise.resolve();
  /** What this site's blob node says that it lost. */
  readonly lost = new Set<Digest>();
  /** Of its blob node. */
  incarnation = "1";
  /** Makes every fetch fail. */
  broken = false;
  /** Blobs of which every holder sends wrong bytes. */
  readonly wrong = new Set<Digest>();
  /** What the policy sets for repositories, as this site knows it. */
  readonly settings = new RepositorySettingsTable();
  catalog!: OpenCatalog;
  /** What its catalog has folded. */
  view!: OrderedStore;
  replicator!: Replicator;
  readonly #cluster: TestCluster;
  readonly #config: ReplicatorConfig;
  readonly #listeners = new Set<(health: SiteHealth) => void>();
  readonly #open = new AsyncDisposableStack();
  #logs!: EventLogs;
  #rpc!: RpcServer;

  private constructor(name: string, cluster: TestCluster, config: Partial<ReplicatorConfig>) {
    this.name = name;
    this.#cluster = cluster;
    this.#config = replicatorConfigSchema.parse(config);
  }

  static async start(name: string, cluster: TestCluster, config: Partial<ReplicatorConfig>): Promise<TestSite> {
    const site = new TestSite(name, cluster, config);
    const path = await mkdtemp(join(tmpdir(), `replicator-${name}-`));
    site.#open.defer(() => rm(path, { recursive: true }));
    const common = { site: name, clock, timers, random: systemRandom, log: silent };
    site.#logs = site.#open.use(await openEmbeddedLogs({ ...common, path, writer: `${name}/site` }));
    const stores = { view: site.#open.use(createMemoryStore()), outbox: site.#open.use(createMemoryStore()) };
    site.view = stores.view;
    const catalog = await openCatalog({
      ...common,
      ...stores,
      writer: "site",
      serving: true,
      alone: true,
      logs: site.#logs,
    });
    site.catalog = site.#open.use(catalog);
    return site;
  }

  /** Starts the replicator, in a new server, as a process that starts again does. */
  async replicate(): Promise<void> {
    this.#rpc = createRpcServer({ log: silent, timers });
    this.#rpc.register(blobV1.BlobNodeService, this.#blobNode());
    this.#rpc.register(nodeV1.NodeService, this.#nodeInventory());
    const topology = this.#cluster.topologyOf(this.name);
    registerViewDiff({ rpc: this.#rpc, topology, catalog: this.catalog, timers });
    this.replicator = await startReplicator(this.#config, {
      topology: this.#cluster.topologyOf(this.name),
      peers: this.#peers(),
      monitor: this.#monitor(),
      logs: this.#logs,
      catalog: this.catalog,
      rpc: this.#rpc,
      settings: this.settings,
      clock,
      timers,
      random: systemRandom,
      log: silent,
      readBlob: async (digest) => this.blobs.get(digest) ?? Promise.reject(new ContentError("not-found", digest)),
    });
  }

  async stopReplicating(): Promise<void> {
    await this.replicator[Symbol.asyncDispose]();
    await this.#rpc[Symbol.asyncDispose]();
  }

  /** Stores bytes at this site's blob node, without telling anyone. */
  store(content: Uint8Array | string): { digest: Digest; size: number } {
    const bytes = Buffer.from(content);
    const digest = digestOf(bytes);
    this.blobs.set(digest, bytes);
    return { digest, size: bytes.byteLength };
  }

  get node(): string {
    return nodeName({ site: this.name, process: "site" });
  }

  monitorChanged(site: string): void {
    for (const listener of this.#listeners) listener(this.#health(site));
  }

  get logs(): EventLogs {
    return this.#logs;
  }

  rpc(): RpcServer {
    return this.#rpc;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stopReplicating();
    await this.#open.disposeAsync();
  }

  #blobNode() {
    const refuse = async (): Promise<never> => {
      throw new ContentError("invalid", "not under test");
    };
    return {
      stat: async ({ digest }: blobV1.StatRequest) => {
        const bytes = this.blobs.get(parseDigest(digest));
        return { present: bytes !== undefined, size: BigInt(bytes?.byteLength ?? 0) };
      },
      delete: async ({ digest }: blobV1.DeleteRequest) => ({ deleted: this.blobs.delete(parseDigest(digest)) }),
      beginUpload: refuse,
      uploadStatus: refuse,
      commitUpload: refuse,
      put: refuse,
      cancelUpload: refuse,
      scrubStatus: refuse,
      controlScrub: refuse,
      lostBlobs: async () => ({
        digests: [...this.lost].filter((digest) => !this.blobs.has(digest)),
        incarnation: this.incarnation,
      }),
      expect: async ({ blobs }: blobV1.ExpectRequest) => {
        const missing = blobs.map(({ digest }) => parseDigest(digest)).filter((digest) => !this.blobs.has(digest));
        for (const digest of missing) this.lost.add(digest);
        return { lost: missing.length };
      },
      status: async () => ({ node: this.node, transfers: [] }),
      dropFetch: async ({ digest }: blobV1.DropFetchRequest) => {
        this.dropped.push(parseDigest(digest));
        return { dropped: true };
      },
      fetch: async (request: blobV1.FetchRequest) => {
        const digest = parseDigest(request.digest);
        this.fetches.push(digest);
        await this.gate;
        if (this.wrong.has(digest)) throw new ContentError("digest-mismatch", "a holder sent wrong bytes");
        if (this.broken) throw new ContentError("no-space", "the disk is full");
        for (const holder of request.holders) {
          const [site = ""] = holder.split("/");
          const bytes = this.#cluster.up(this.name, site) ? this.#cluster.site(site).blobs.get(digest) : undefined;
          if (bytes === undefined) continue;
          this.blobs.set(digest, bytes);
          return { size: BigInt(bytes.byteLength), fetchedBytes: BigInt(bytes.byteLength) };
        }
        throw new ContentError("unavailable", "no holder could be reached");
      },
    };
  }

  #nodeInventory() {
    const refuse = async (): Promise<never> => {
      throw new ContentError("invalid", "not under test");
    };
    return {
      state: async () => ({ node: this.node }),
      setDraining: refuse,
      holds: async ({ digests }: nodeV1.HoldsRequest) => ({
        held: digests.map((digest) => this.blobs.has(parseDigest(digest))),
      }),
      list: async ({ after, limit }: nodeV1.ListRequest) => ({
        blobs: [...this.blobs]
          .map(([digest, bytes]) => ({ digest, size: BigInt(bytes.byteLength) }))
          .filter(({ digest }) => digest > after)
          .sort((a, b) => (a.digest < b.digest ? -1 : 1))
          .slice(0, limit),
      }),
      drainBlobs: refuse,
      removeDrained: refuse,
      keepBlobs: refuse,
    };
  }

  #health(site: string): SiteHealth {
    const up = this.#cluster.up(this.name, site);
    return { site, state: up ? "live" : "down", rttMs: 10, failing: [] };
  }

  #monitor(): SiteMonitor {
    const others = [...this.#cluster.topologyOf(this.name).sites].filter((site) => site !== this.name);
    return {
      health: (site) => this.#health(site),
      live: () => others.filter((site) => this.#cluster.up(this.name, site)),
      ordered: () => others,
      report() {},
      subscribe: (listener) => {
        this.#listeners.add(listener);
        return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
      },
      async [Symbol.asyncDispose]() {},
    };
  }

  /** Callers that go straight to the other site's server, while the link to it is up. */
  #peers(): Peers {
    const topology = this.#cluster.topologyOf(this.name);
    const { name } = this;
    const cluster = this.#cluster;
    return {
      topology,
      processes: (role, site) =>
        topology.processes.filter((one) => one.roles.includes(role) && (site === undefined || one.site === site)),
      process: (site) => topology.processes.find((one) => one.site === site),
      client: (service, address) => {
        const call =
          (method: string) =>
          (...args: unknown[]): unknown => {
            const server = cluster.site(address.site).rpc().local(service) as unknown as Record<
              string,
              (...args: unknown[]) => unknown
            >;
            const answer = server[method]!(...args);
            return service.method[method]!.methodKind === "unary" ? answer : whileUp(answer as AsyncIterable<unknown>);
          };
        async function* whileUp(responses: AsyncIterable<unknown>): AsyncGenerator<unknown> {
          cluster.requireUp(name, address.site);
          for await (const response of responses) {
            cluster.requireUp(name, address.site);
            yield response;
          }
        }
        return Object.fromEntries(service.methods.map(({ localName }) => [localName, call(localName)])) as never;
      },
      async [Symbol.asyncDispose]() {},
    };
  }
}
