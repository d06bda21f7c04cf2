import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { GenService, GenServiceMethods } from "@bufbuild/protobuf/codegenv2";
import { type OpenCatalog, openCatalog } from "@meridian/catalog";
import {
  nodeName,
  type Peers,
  type ProcessAddress,
  type SiteHealth,
  type SiteMonitor,
  type Topology,
} from "@meridian/cluster";
import { openEmbeddedLogs } from "@meridian/eventlog";
import { createMemoryStore } from "@meridian/keyvalue";
import type { LimitStore } from "@meridian/limits";
import { ContentError } from "@meridian/oci";
import { type Decider, RepositorySettingsTable, type TokenClaims, type TokenVerifier } from "@meridian/policy";
import { createRpcServer, type RpcServer, type ServiceClient, type ServiceImpl } from "@meridian/rpc";
import {
  createLogger,
  createSystemClock,
  type Logger,
  systemRandom,
  systemTimers,
  type TlsSource,
} from "@meridian/runtime";
import { authV1, blobV1, nodeV1 } from "@meridian/wire";
import { type GatewayConfig, gatewayConfigSchema } from "./config.ts";
import { createMemoryBlobNode, type MemoryBlobNode } from "./memory-blob-node.fixture.ts";
import { type Gateway, startGateway } from "./service.ts";

/** One site of a {@link TestCluster}. */
export interface TestSite {
  readonly name: string;
  readonly gateway: Gateway;
  readonly catalog: OpenCatalog;
  readonly nodes: readonly MemoryBlobNode[];
  /** What this site thinks of the others; live unless set. */
  readonly health: Map<string, SiteHealth["state"]>;
  /** Principal → actions allowed on every repository, or on one as "repository:action". */
  readonly grants: Map<string, Set<string>>;
  /** What the policy sets for repositories, as this site knows it. */
  readonly settings: RepositorySettingsTable;
  policyAgeMs: number;
}

/** Sites in this process: real catalogs and HTTP, memory blob nodes, calls between processes without sockets. */
export interface TestCluster extends AsyncDisposable {
  readonly sites: readonly TestSite[];
  /** The first site. */
  readonly site: TestSite;
  /** A caller of a service of the site's gateway process. */
  client<M extends GenServiceMethods>(service: GenService<M>, site: string): ServiceClient<GenService<M>>;
}

/** Settings of {@link startTestCluster}. */
export interface TestClusterOptions {
  readonly sites?: readonly string[];
  /** Per site; default 1. */
  readonly blobNodes?: number;
  readonly config?: Partial<GatewayConfig>;
  /** The auth of each site. */
  readonly auth?: (site: string) => Pick<ServiceImpl<typeof authV1.AuthService>, "issueToken">;
  readonly tls?: TlsSource;
  /** What limits are kept in; absent: in each gateway alone. */
  readonly limits?: LimitStore;
  /** Tokens are checked in a later turn, as one that was not seen before is. */
  readonly slowTokens?: boolean;
}

const quiet: Logger = createLogger({ level: "error", write: () => undefined });

/**
 * A token of the test verifier: the user's name, then scopes as `name:action,action`, separated by spaces; URL-encoded.
 * A name of "-" is the anonymous principal.
 */
export function token(user: string, ...scopes: string[]): string {
  return encodeURIComponent([user, ...scopes].join(" "));
}

export function bearer(user: string, ...scopes: string[]): { authorization: string } {
  return { authorization: `Bearer ${token(user, ...scopes)}` };
}

export async function startTestCluster(options: TestClusterOptions = {}): Promise<TestCluster> {
  await using opened = new AsyncDisposableStack();
  const names = options.sites ?? ["eu"];
  const addresses = names.flatMap((site) => addressesOf(site, options.blobNodes ?? 1));
  const servers = new Map<string, RpcServer>();
  const nodes = new Map<string, MemoryBlobNode>();
  for (const address of addresses) {
    servers.set(nodeName(address), createRpcServer({ log: quiet, timers: systemTimers }));
    if (!address.roles.includes("blob-node")) continue;
    const node = createMemoryBlobNode(nodeName(address), (name) => nodes.get(name));
    nodes.set(node.name, node);
    servers.get(node.name)!.register(blobV1.BlobNodeService, node.control);
    servers.get(node.name)!.register(nodeV1.NodeService, node.standing);
  }
  for (const server of servers.values()) opened.use(server);
  const cluster = { names, addresses, servers, nodes };
  const sites: TestSite[] = [];
  for (const name of names) sites.push(await startSite(name, cluster, options, opened));
  const owned = opened.move();
  const client: TestCluster["client"] = (service, site) => servers.get(`${site}/gateway-1`)!.local(service)!;
  return { sites, site: sites[0]!, client, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

interface Wiring {
  readonly names: readonly string[];
  readonly addresses: ProcessAddress[];
  readonly servers: ReadonlyMap<string, RpcServer>;
  readonly nodes: ReadonlyMap<string, MemoryBlobNode>;
}

function addressesOf(site: string, blobNodes: number): ProcessAddress[] {
  const gateway: ProcessAddress = { site, process: "gateway-1", roles: ["gateway", "auth"], grpc: "127.0.0.1:1" };
  const blobs = Array.from({ length: blobNodes }, (_, index): ProcessAddress => {
    return {
      site,
      process: `blob-node-${index + 1}`,
      roles: ["blob-node"],
      grpc: "127.0.0.1:1",
      bytes: "https://127.0.0.1:1",
    };
  });
  return [gateway, ...blobs];
}

async function startSite(
  name: string,
  wiring: Wiring,
  options: TestClusterOptions,
  opened: AsyncDisposableStack,
): Promise<TestSite> {
  const clock = createSystemClock();
  const topology: Topology = {
    cluster: "test-cluster",
    site: name,
    process: "gateway-1",
    sites: wiring.names,
    processes: wiring.addresses,
  };
  const rpc = wiring.servers.get(`${name}/gateway-1`)!;
  const peers = peersOf(topology, wiring);
  const catalog = await openTestCatalog(name, options.config?.sparse ?? false, opened);
  const health = new SiteStates();
  const grants: TestSite["grants"] = new Map();
  const settings = new RepositorySettingsTable();
  const state = { policyAgeMs: 0 };
  if (options.auth !== undefined)
    rpc.register(authV1.AuthService, options.auth(name) as ServiceImpl<typeof authV1.AuthService>);
  const gateway = opened.use(
    await startGateway(
      gatewayConfigSchema.parse({ port: 0, transientWaitMs: 2_000, drainTimeoutMs: 500, ...options.config }),
      {
        topology,
        peers,
        monitor: monitorOf(
          health,
          wiring.names.filter((other) => other !== name),
        ),
        catalog,
        decider: deciderOf(grants, state),
        settings,
        verifier: verifierOf(options.slowTokens ?? false),
        // As in a process that is gateway and blob node at once, the gateway's own name is the first node's too.
        bytesOf: (node) => wiring.nodes.get(node === `${name}/gateway-1` ? `${name}/blob-node-1` : node)?.bytes,
        rpc,
        uploadKey: Buffer.from(`upload key of ${name}`),
        ...(options.tls === undefined ? {} : { tls: options.tls }),
        ...(options.limits === undefined ? {} : { limits: options.limits }),
        clock,
        timers: systemTimers,
        random: systemRandom,
        log: quiet,
        health: async () => ({ ready: catalog.ready, checks: [{ name: "catalog", ok: catalog.ready }] }),
      },
    ),
  );
  const own = wiring.addresses.find((address) => address.site === name && address.roles.includes("gateway"))!;
  Object.assign(own, { edge: gateway.url });
  const nodes = [...wiring.nodes.values()].filter((node) => node.name.startsWith(`${name}/`));
  return Object.defineProperty(
    { name, gateway, catalog, nodes, health, grants, settings, policyAgeMs: 0 },
    "policyAgeMs",
    {
      get: () => state.policyAgeMs,
      set: (ageMs: number) => {
        state.policyAgeMs = ageMs;
      },
    },
  );
}

/** The services of all processes of the test, without sockets. */
function peersOf(topology: Topology, { servers }: Wiring): Peers {
  return {
    topology,
    processes: (role, site) =>
      topology.processes.filter((address) => address.roles.includes(role) && (site ?? address.site) === address.site),
    process: (site, process) =>
      topology.processes.find((address) => address.site === site && address.process === process),
    client<M extends GenServiceMethods>(service: GenService<M>, address: ProcessAddress): ServiceClient<GenService<M>> {
      const client = servers.get(nodeName(address))?.local(service);
      if (client === undefined)
        throw new ContentError("unavailable", `${nodeName(address)} has no ${service.typeName}`);
      return client;
    },
    async [Symbol.asyncDispose]() {},
  };
}

async function openTestCatalog(site: string, sparse: boolean, opened: AsyncDisposableStack): Promise<OpenCatalog> {
  const directory = mkdtempSync(join(tmpdir(), "meridian-gateway-"));
  opened.defer(() => rmSync(directory, { recursive: true, force: true }));
  const parts = { clock: createSystemClock(), timers: systemTimers, random: systemRandom, log: quiet };
  const logs = opened.use(await openEmbeddedLogs({ ...parts, site, writer: "gateway-1", path: directory }));
  const catalog = opened.use(
    await openCatalog({
      ...parts,
      site,
      writer: "gateway-1",
      sparse,
      serving: true,
      alone: true,
      logs,
      view: createMemoryStore(),
      outbox: createMemoryStore(),
    }),
  );
  return catalog;
}

/** What a site thinks of the others, and who wants to hear of a change. */
class SiteStates extends Map<string, SiteHealth["state"]> {
  readonly listeners = new Set<(health: SiteHealth) => void>();

  healthOf(site: string): SiteHealth {
    return { site, state: this.get(site) ?? "live", rttMs: 10, failing: [] };
  }

  override set(site: string, state: SiteHealth["state"]): this {
    super.set(site, state);
    this.#changed(site);
    return this;
  }

  override clear(): void {
    const sites = [...this.keys()];
    super.clear();
    for (const site of sites) this.#changed(site);
  }

  #changed(site: string): void {
    for (const changed of this.listeners) changed(this.healthOf(site));
  }
}

function monitorOf(states: SiteStates, others: readonly string[]): SiteMonitor {
  return {
    health: (site) => states.healthOf(site),
    live: () => others.filter((site) => states.healthOf(site).state === "live"),
    ordered: () => others,
    report: () => undefined,
    subscribe(changed) {
      states.listeners.add(changed);
      return { [Symbol.dispose]: () => states.listeners.delete(changed) };
    },
    async [Symbol.asyncDispose]() {},
  };
}

/** "admin" may do everything; others what `grants` says. */
function deciderOf(grants: TestSite["grants"], state: { readonly policyAgeMs: number }): Decider {
  return {
    revision: "1.7",
    ageMs: () => state.policyAgeMs,
    decide({ name, superuser }, action, resource) {
      const granted = grants.get(name ?? "*");
      const specific = resource.kind === "repository" ? `${resource.name}:${action}` : action;
      const allow =
        superuser === true || name === "admin" || granted?.has(action) === true || granted?.has(specific) === true;
      return { allow, policyId: allow ? `grant/${name}` : "default-deny", revision: "1.7" };
    },
  };
}

function verifierOf(slow: boolean): TokenVerifier {
  const read = (text: string): TokenClaims | undefined => {
    const [user, ...scopes] = decodeURIComponent(text).split(" ");
    if (user === undefined || user === "bad") return undefined;
    const granted = scopes.map((scope): [string, Set<string>] => {
      const colon = scope.lastIndexOf(":");
      return [scope.slice(0, colon), new Set(scope.slice(colon + 1).split(","))];
    });
    return {
      principal: { name: user === "-" ? undefined : user },
      scopes: new Map(granted),
      expiresAt: Number.MAX_SAFE_INTEGER,
    };
  };
  return { verify: (text) => (slow ? Promise.resolve().then(() => read(text)) : read(text)) };
}
