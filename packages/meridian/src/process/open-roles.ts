import { startAuth } from "@meridian/auth";
import { startBlobNode } from "@meridian/blob-node";
import { type OpenCatalog, openCatalog } from "@meridian/catalog";
import { type Membership, type Peers, Role } from "@meridian/cluster";
import { contendForLease, type EventLogs } from "@meridian/eventlog";
import { startGateway } from "@meridian/gateway";
import { openLmdbStore } from "@meridian/keyvalue";
import { deriveKey, type LimitStore, openLimitStore } from "@meridian/limits";
import { fileTlsSource } from "@meridian/pki";
import { createTokenVerifier, openPolicy, type Policy, type PolicyLogClient } from "@meridian/policy";
import { registerRetirement, registerViewDiff, startReplicator } from "@meridian/replicator";
import { type HealthCheck, systemRandom as random, systemTimers as timers } from "@meridian/runtime";
import { withSmallBlobCache } from "@meridian/storage";
import { policyV1 } from "@meridian/wire";
import type { Foundation } from "./foundation.ts";
import type { HoldingOracle } from "./holding-oracle.ts";
import { openBlobs } from "./open-blobs.ts";
import { createBlobReading } from "./read-blob.ts";
import { openSiteStanding } from "./site-standing.ts";

const DAY_MS = 24 * 3_600_000;
const SMALL_BLOB_BYTES = 256 * 1024;

export async function openBlobNode(
  base: Foundation,
  onStored: NonNullable<Parameters<typeof startBlobNode>[1]["onStored"]>,
  oracle: HoldingOracle,
  stack: AsyncDisposableStack,
): Promise<void> {
  const { clock, log, rpc, nodes, tls, identify, monitor } = base;
  const { config } = base.loaded;
  const blobs = stack.use(await openBlobs(base));
  const store = withSmallBlobCache(blobs, {
    maxBlobBytes: SMALL_BLOB_BYTES,
    maxBytes: config.blobNode.smallBlobCacheBytes,
  });
  const bytes = { host: config.listen.host, port: config.listen.bytesPort ?? 0 };
  const node = stack.use(
    await startBlobNode(
      { ...config.blobNode, links: config.links, bytes },
      {
        mayHold: (site, digest) => oracle.mayHold(site, digest),
        scrubFile: base.identity.folder("scrub.json"),
        stateFile: base.identity.folder("node.json"),
        topology: base.identity.topology,
        store,
        rpc,
        nodes,
        tls,
        identify,
        monitor,
        log,
        clock,
        timers,
        onStored,
      },
    ),
  );
  base.checks.push(...node.checks);
}

export async function openPolicyOf(base: Foundation, logs: EventLogs): Promise<Policy> {
  const { clock, log, peers } = base;
  const { topology, roles } = base.identity;
  const { config } = base.loaded;
  const { gateway } = config;
  const policy = await openPolicy({
    site: topology.site,
    sites: config.topology.sites,
    logs,
    clock,
    timers,
    random,
    log,
    policyHome: () => policyHome(peers, config.topology.sites[0]!),
    role: roles.has(Role.auth) ? "replica" : "reader",
    maxStalenessMs: gateway?.maxStalenessMs ?? 30_000,
    maxPolicyAgeMs: gateway?.maxPolicyAgeMs ?? 24 * 3_600_000,
    anonymous: config.anonymous === "none" ? "off" : config.anonymous,
  });
  base.checks.push(...policy.checks);
  return policy;
}

/** By the configuration: a site that is no member yet knows of no other. */
function policyHome(peers: Peers, site: string): PolicyLogClient | undefined {
  const [home] = peers.processes(Role.auth, site);
  return home === undefined ? undefined : peers.client(policyV1.PolicyLogService, home);
}

/** What the roles of this process keep limits and logins in: with Redis the site's, else the process's. */
export async function openLimits(base: Foundation, stack: AsyncDisposableStack): Promise<LimitStore> {
  const { clock, log } = base;
  const { config, secrets } = base.loaded;
  const { cluster, site } = config.topology;
  const redis = config.redis === undefined ? undefined : { ...config.redis, password: secrets.redisPassword };
  return stack.use(await openLimitStore({ redis, cluster, site, siteSecret: secrets.uploadKey, clock, timers, log }));
}

export async function openAuth(
  base: Foundation,
  { policy, limits }: { readonly policy: Policy; readonly limits: LimitStore },
  stack: AsyncDisposableStack,
): Promise<void> {
  const { clock, log, rpc } = base;
  const { config, secrets } = base.loaded;
  const credentialKey = deriveKey(secrets.uploadKey, "limits: checked credentials");
  const auth = stack.use(
    await startAuth(
      { ...config.auth, cluster: config.topology.cluster, dataDir: config.dataDir },
      { policy, rpc, limits, credentialKey, clock, timers, random, log },
    ),
  );
  base.checks.push(...auth.checks);
}

export async function openCatalogOf(
  base: Foundation,
  logs: EventLogs,
  stack: AsyncDisposableStack,
): Promise<OpenCatalog> {
  const { clock, log } = base;
  const { topology, roles, folder } = base.identity;
  const { history } = base.loaded.config;
  // Folded again by the next process, as every view can be; this one ends as if it had been told to.
  const droppable = { timers, corrupted: () => void process.kill(process.pid, "SIGTERM") };
  const view = stack.use(await openLmdbStore({ path: folder("view"), volatile: true, droppable, log }));
  const outbox = stack.use(await openLmdbStore({ path: folder("outbox"), log }));
  const serving = roles.has(Role.gateway);
  const pins = serving ? await openPins(base, stack) : undefined;
  const catalog = stack.use(
    await openCatalog({
      site: topology.site,
      writer: topology.process,
      serving,
      pins,
      // What the log may have lost is brought back by the site's replicator.
      restores: topology.processes.some((one) => one.site === topology.site && one.roles.includes(Role.replicator)),
      // An embedded log has one process, so there is no sibling to wait for.
      alone: base.loaded.config.log.driver === "embedded",
      logs,
      view,
      outbox,
      sparse: base.loaded.config.sparse,
      history: { maxAgeMs: history.maxAgeDays * DAY_MS, maxWrites: history.maxWrites },
      tidiesHistory: roles.has(Role.replicator),
      clock,
      timers,
      random,
      log,
    }),
  );
  base.checks.push(restoreCheck(catalog));
  registerRetirement({ rpc: base.rpc, topology, catalog, timers });
  registerViewDiff({ rpc: base.rpc, topology, catalog, timers });
  // A gateway brings this check itself.
  if (!roles.has(Role.gateway)) base.checks.push(catalogCheck(catalog));
  return catalog;
}

/** What clients were told to be here has to outlive the process, not the machine. */
async function openPins(
  { identity, loaded, log }: Foundation,
  stack: AsyncDisposableStack,
): Promise<NonNullable<Parameters<typeof openCatalog>[0]["pins"]>> {
  const store = stack.use(await openLmdbStore({ path: identity.folder("pins"), volatile: true, log }));
  return { store, forMs: loaded.config.collection.pinMs };
}

function catalogCheck(catalog: OpenCatalog): HealthCheck {
  return {
    name: "catalog",
    check: async () => {
      if (!catalog.ready) throw new Error("the view has not caught up with the site's log yet");
    },
  };
}

function restoreCheck({ life }: OpenCatalog): HealthCheck {
  return {
    name: "restore",
    check: async () => {
      if (life.restoring !== undefined) throw new Error(life.restoring.message);
    },
  };
}

/** One process with both roles needs to be told only once how many copies there are to be. */
function replicatorConfig({ loaded: { config } }: Foundation): Parameters<typeof startReplicator>[0] {
  const copies = config.replicator.copies ?? config.gateway?.copies;
  const replicator = { ...config.replicator, links: config.links };
  return copies === undefined ? replicator : { ...replicator, copies };
}

export async function openReplicator(
  base: Foundation,
  inputs: {
    readonly logs: EventLogs;
    readonly catalog: OpenCatalog;
    readonly policy: Policy;
    readonly membership: Membership;
    readonly oracle: HoldingOracle;
  },
  stack: AsyncDisposableStack,
): Promise<void> {
  const { clock, log, rpc, peers, monitor, nodes } = base;
  const { logs, catalog, policy, membership, oracle } = inputs;
  const { folder } = base.identity;
  const marks = stack.use(await openLmdbStore({ path: folder("collection"), volatile: true, log }));
  const { site, process: holder } = base.identity.topology;
  // An embedded log has one process; on NATS another replicator may be added at any time.
  const duty =
    base.loaded.config.log.driver === "embedded"
      ? undefined
      : stack.use(contendForLease({ logs, name: "replicator", holder, clock, timers, log: log.child({ site }) }));
  const replicator = stack.use(
    await startReplicator(replicatorConfig(base), {
      topology: base.identity.topology,
      peers,
      membership,
      monitor,
      logs,
      catalog,
      rpc,
      settings: policy.state.repositories,
      ...(duty && { duty }),
      collection: {
        config: base.loaded.config.collection,
        marks,
        settingsFile: folder("collection.json"),
        ...(duty && { settingsLogs: logs }),
      },
      readBlob: createBlobReading({ topology: base.identity.topology, nodes }),
      clock,
      timers,
      random,
      log,
    }),
  );
  oracle.use((site, digest) => replicator.residency.mayHold(site, digest));
  base.checks.push(...replicator.checks);
}

export async function openGateway(
  base: Foundation,
  inputs: {
    readonly catalog: OpenCatalog;
    readonly policy: Policy;
    readonly limits: LimitStore;
    readonly logs: EventLogs;
    readonly membership: Membership;
    readonly health: Parameters<typeof startGateway>[1]["health"];
  },
  stack: AsyncDisposableStack,
): Promise<void> {
  const { clock, log, rpc, peers, monitor, nodes, loaded, onStep } = base;
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
      {
        ...config,
        anonymous: loaded.config.anonymous,
        sparse: loaded.config.sparse,
        limits: loaded.config.limits,
      },
      {
        topology: base.identity.topology,
        peers,
        monitor,
        members: await openStanding(base, inputs, stack),
        catalog: inputs.catalog,
        ownPuts: (place, limit) => inputs.catalog.ownPuts(place, limit),
        decider: inputs.policy.decider,
        settings: inputs.policy.state.repositories,
        verifier,
        bytesOf: (node) => nodes.bytesOf(node),
        rpc,
        uploadKey: loaded.secrets.uploadKey,
        limits: inputs.limits,
        ...(tls === undefined ? {} : { tls }),
        clock,
        timers,
        random,
        log,
        onStep,
        health: inputs.health,
      },
    ),
  );
  base.checks.push(...gateway.checks);
}

async function openStanding(
  { identity, peers, log }: Foundation,
  { policy, logs, membership }: { readonly policy: Policy; readonly logs: EventLogs; readonly membership: Membership },
  stack: AsyncDisposableStack,
): Promise<ReturnType<typeof openSiteStanding>> {
  const { topology, folder } = identity;
  const { incarnation } = await (await logs.open(`META_${topology.site}`)).head();
  const joinedFile = folder("joined");
  return stack.use(
    openSiteStanding({
      policy,
      membership,
      topology,
      peers,
      joinedFile,
      ownLogCreated: incarnation.created,
      timers,
      log,
    }),
  );
}
