import { startAuth } from "@meridian/auth";
import { startBlobNode } from "@meridian/blob-node";
import { type Catalog, openCatalog } from "@meridian/catalog";
import { createPeers, createSiteMonitor, nodeName, type Peers, Role, type SiteMonitor } from "@meridian/cluster";
import { startFaultHooks } from "@meridian/dev";
import type { EventLogs } from "@meridian/eventlog";
import { startGateway } from "@meridian/gateway";
import { openLmdbStore } from "@meridian/keyvalue";
import { createIdentifyPeer, fileTlsSource } from "@meridian/pki";
import { createTokenVerifier, openPolicy, type Policy, type PolicyLogClient } from "@meridian/policy";
import { startReplicator } from "@meridian/replicator";
import { createRpcServer, type RpcServer } from "@meridian/rpc";
import {
  createHealth,
  createSystemClock,
  type HealthCheck,
  type IdentifyPeer,
  type Logger,
  type SystemClock,
  startAdminServer,
  startTelemetry,
  systemRandom,
  systemTimers,
  type TlsSource,
} from "@meridian/runtime";
import { openFilesystemStore, withSmallBlobCache } from "@meridian/storage";
import { createNodeDirectory, type NodeDirectory } from "@meridian/transfer";
import { policyV1 } from "@meridian/wire";
import { version } from "../version.ts";
import { createHolderAnnouncer } from "./announce-holders.ts";
import { type ProcessIdentity, processIdentity } from "./identity.ts";
import type { LoadedSite } from "./load-site.ts";
import { openLog } from "./open-log.ts";
import { createBlobReading } from "./read-blob.ts";

const MIB = 1024 * 1024;
/** Small blobs are served from memory up to this much. */
const SMALL_BLOB_CACHE_BYTES = 64 * MIB;
const SMALL_BLOB_BYTES = 256 * 1024;
const HEALTH_TIMEOUT_MS = 2_000;
const HEALTH_CACHE_MS = 500;

const timers = systemTimers;
const random = systemRandom;

/** What all roles of a process share. */
interface Foundation {
  readonly loaded: LoadedSite;
  readonly identity: ProcessIdentity;
  readonly clock: SystemClock;
  readonly log: Logger;
  readonly tls: TlsSource;
  readonly identify: IdentifyPeer;
  readonly rpc: RpcServer;
  readonly peers: Peers;
  readonly monitor: SiteMonitor;
  readonly nodes: NodeDirectory;
  readonly checks: HealthCheck[];
}

/**
 * Puts one process together: what its roles share, then each role, then the listeners. Everything is closed in reverse
 * order when the result is disposed, or when a step fails.
 */
export async function openProcess(
  loaded: LoadedSite,
  options: { readonly roles?: string | undefined; readonly log: Logger; readonly signal: AbortSignal },
): Promise<AsyncDisposable> {
  const { config } = loaded;
  const { log } = options;
  const identity = processIdentity(config, options.roles);
  const { topology, roles } = identity;
  await using stack = new AsyncDisposableStack();
  const telemetry = await startTelemetry({
    service: identity.service,
    site: topology.site,
    process: topology.process,
    version,
    ...config.telemetry,
    log,
  });
  stack.defer(() => telemetry.shutdown());
  const base = openFoundation(loaded, identity, log, stack);
  if (config.faults && config.faultSocket !== undefined) {
    stack.use(await startFaultHooks({ socket: config.faultSocket, clock: base.clock }));
  }
  const health = createHealth({
    checks: () => base.checks,
    timers,
    timeoutMs: HEALTH_TIMEOUT_MS,
    cacheMs: HEALTH_CACHE_MS,
  });
  const { adminHost, adminPort, host, grpcPort } = config.listen;
  stack.use(
    await startAdminServer({ host: adminHost, port: adminPort, health, metrics: () => telemetry.metricsText(), log }),
  );

  const announcer = createHolderAnnouncer({ node: nodeName(topology), timers, log });
  if (roles.has(Role.blobNode)) await openBlobNode(base, announcer.stored, stack);
  const needsLog = roles.has(Role.gateway) || roles.has(Role.replicator) || roles.has(Role.auth);
  if (needsLog) {
    const logs = stack.use(
      await openLog(config, {
        identity,
        secrets: loaded.secrets,
        clock: base.clock,
        timers,
        random,
        log,
        signal: options.signal,
      }),
    );
    base.checks.push({ name: "log", check: (signal) => logs.probe(signal) });
    const policy =
      roles.has(Role.gateway) || roles.has(Role.auth) ? stack.use(await openPolicyOf(base, logs)) : undefined;
    if (policy !== undefined && roles.has(Role.auth)) await openAuth(base, policy, stack);
    // Services of this process that peers call while the catalog still opens have to be reachable before it waits.
    const catalog =
      roles.has(Role.gateway) || roles.has(Role.replicator) ? await openCatalogOf(base, logs, stack) : undefined;
    if (catalog !== undefined) stack.use(announcer.announceTo(catalog));
    if (catalog !== undefined && roles.has(Role.replicator)) await openReplicator(base, logs, catalog, stack);
    if (catalog !== undefined && policy !== undefined && roles.has(Role.gateway)) {
      await openGateway(base, { catalog, policy, health: () => health.report() }, stack);
    }
  }
  const { address } = await base.rpc.listen({ host, port: grpcPort });
  base.rpc.serving(true);
  log.info("serving", { roles: [...roles].join(","), grpc: address, version });
  const opened = stack.move();
  return { [Symbol.asyncDispose]: () => opened.disposeAsync() };
}

function openFoundation(
  loaded: LoadedSite,
  identity: ProcessIdentity,
  log: Logger,
  stack: AsyncDisposableStack,
): Foundation {
  const clock = createSystemClock();
  const { topology } = identity;
  const tls = stack.use(fileTlsSource({ ...loaded.config.tls, timers, log }));
  const identify = createIdentifyPeer(topology.cluster);
  const rpc = stack.use(createRpcServer({ tls, identify, log, timers, drainTimeoutMs: loaded.config.drainTimeoutMs }));
  const peers = stack.use(createPeers({ topology, rpc, tls, identify, log, clock, timers }));
  const monitor = stack.use(createSiteMonitor({ peers, clock, timers, log }));
  const nodes = stack.use(
    createNodeDirectory({
      nodes: topology.processes.flatMap((one) =>
        one.bytes === undefined ? [] : [{ node: nodeName(one), url: one.bytes }],
      ),
      tls,
      identify,
      log,
      timers,
    }),
  );
  return { loaded, identity, clock, log, tls, identify, rpc, peers, monitor, nodes, checks: [] };
}

async function openBlobNode(
  base: Foundation,
  onStored: NonNullable<Parameters<typeof startBlobNode>[1]["onStored"]>,
  stack: AsyncDisposableStack,
): Promise<void> {
  const { clock, log, rpc, nodes, tls, identify, monitor } = base;
  const { config } = base.loaded;
  const files = stack.use(await openFilesystemStore({ root: base.identity.folder("blobs"), clock, timers, log }));
  const store = withSmallBlobCache(files, { maxBlobBytes: SMALL_BLOB_BYTES, maxBytes: SMALL_BLOB_CACHE_BYTES });
  const bytes = { host: config.listen.host, port: config.listen.bytesPort ?? 0 };
  const node = stack.use(
    await startBlobNode(
      { ...config.blobNode, bytes },
      { topology: base.identity.topology, store, rpc, nodes, tls, identify, monitor, log, clock, timers, onStored },
    ),
  );
  base.checks.push(...node.checks);
}

async function openPolicyOf(base: Foundation, logs: EventLogs): Promise<Policy> {
  const { clock, log, peers } = base;
  const { topology, roles } = base.identity;
  const { config } = base.loaded;
  const { gateway } = config;
  const policy = await openPolicy({
    site: topology.site,
    sites: topology.sites,
    logs,
    clock,
    timers,
    random,
    log,
    policyHome: () => policyHome(peers),
    role: roles.has(Role.auth) ? "replica" : "reader",
    maxStalenessMs: gateway?.maxStalenessMs ?? 30_000,
    maxPolicyAgeMs: gateway?.maxPolicyAgeMs ?? 24 * 3_600_000,
    anonymous: config.anonymous === "none" ? "off" : config.anonymous,
  });
  base.checks.push(...policy.checks);
  return policy;
}

function policyHome(peers: Peers): PolicyLogClient | undefined {
  const [home] = peers.processes(Role.auth, peers.topology.sites[0]);
  return home === undefined ? undefined : peers.client(policyV1.PolicyLogService, home);
}

async function openAuth(base: Foundation, policy: Policy, stack: AsyncDisposableStack): Promise<void> {
  const { clock, log, rpc } = base;
  const { config } = base.loaded;
  const auth = stack.use(
    await startAuth(
      { ...config.auth, cluster: config.topology.cluster, dataDir: config.dataDir },
      { policy, rpc, clock, timers, random, log },
    ),
  );
  base.checks.push(...auth.checks);
}

async function openCatalogOf(base: Foundation, logs: EventLogs, stack: AsyncDisposableStack): Promise<Catalog> {
  const { clock, log } = base;
  const { topology, roles, folder } = base.identity;
  const view = stack.use(await openLmdbStore({ path: folder("view"), log }));
  const outbox = stack.use(await openLmdbStore({ path: folder("outbox"), log }));
  const catalog = stack.use(
    await openCatalog({
      site: topology.site,
      writer: topology.process,
      serving: roles.has(Role.gateway),
      logs,
      view,
      outbox,
      clock,
      timers,
      random,
      log,
    }),
  );
  // A gateway brings this check itself.
  if (!roles.has(Role.gateway)) base.checks.push(catalogCheck(catalog));
  return catalog;
}

function catalogCheck(catalog: Catalog): HealthCheck {
  return {
    name: "catalog",
    check: async () => {
      if (!catalog.ready) throw new Error("the view has not caught up with the site's log yet");
    },
  };
}

async function openReplicator(
  base: Foundation,
  logs: EventLogs,
  catalog: Catalog,
  stack: AsyncDisposableStack,
): Promise<void> {
  const { clock, log, rpc, peers, monitor, nodes } = base;
  const replicator = stack.use(
    await startReplicator(base.loaded.config.replicator, {
      topology: base.identity.topology,
      peers,
      monitor,
      logs,
      catalog,
      rpc,
      readBlob: createBlobReading({ topology: base.identity.topology, nodes }),
      clock,
      timers,
      random,
      log,
    }),
  );
  base.checks.push(...replicator.checks);
}

async function openGateway(
  base: Foundation,
  inputs: {
    readonly catalog: Catalog;
    readonly policy: Policy;
    readonly health: Parameters<typeof startGateway>[1]["health"];
  },
  stack: AsyncDisposableStack,
): Promise<void> {
  const { clock, log, rpc, peers, monitor, nodes, loaded } = base;
  const { gateway: config } = loaded.config;
  if (config === undefined) return;
  const verifier = stack.use(
    createTokenVerifier({ policy: inputs.policy, audience: base.identity.topology.cluster, clock }),
  );
  const tls =
    config.tls === undefined
      ? undefined
      : stack.use(fileTlsSource({ ...config.tls, ca: loaded.config.tls.ca, timers, log }));
  const gateway = stack.use(
    await startGateway(
      { ...config, anonymous: loaded.config.anonymous },
      {
        topology: base.identity.topology,
        peers,
        monitor,
        catalog: inputs.catalog,
        decider: inputs.policy.decider,
        verifier,
        bytesOf: (node) => nodes.bytesOf(node),
        rpc,
        uploadKey: loaded.secrets.uploadKey,
        ...(tls === undefined ? {} : { tls }),
        clock,
        timers,
        random,
        log,
        health: inputs.health,
      },
    ),
  );
  base.checks.push(...gateway.checks);
}
