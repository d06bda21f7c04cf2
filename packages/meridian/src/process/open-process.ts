import { nodeName, Role } from "@meridian/cluster";
import {
  createHealth,
  type HealthReport,
  type Logger,
  systemRandom as random,
  startAdminServer,
  startTelemetry,
  systemTimers as timers,
} from "@meridian/runtime";
import { version } from "../version.ts";
import { createHolderAnnouncer, type HolderAnnouncer } from "./announce-holders.ts";
import { type Foundation, openFoundation } from "./foundation.ts";
import { createHoldingOracle, type HoldingOracle } from "./holding-oracle.ts";
import { processIdentity } from "./identity.ts";
import type { LoadedSite } from "./load-site.ts";
import { followMembers } from "./members.ts";
import { openLog } from "./open-log.ts";
import {
  openAuth,
  openBlobNode,
  openCatalogOf,
  openGateway,
  openLimits,
  openPolicyOf,
  openReplicator,
} from "./open-roles.ts";
import { watchTopology } from "./watch-topology.ts";

const HEALTH_TIMEOUT_MS = 2_000;
/** Peers ask several times a second; the checks touch the disk. */
const HEALTH_CACHE_MS = 1_000;
const FAILED_HEALTH_CACHE_MS = 100;

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
  const faults = config.faults ? await import("@meridian/dev/control") : undefined;
  const crash = faults?.createCrashPoint(() => process.kill(process.pid, "SIGKILL"));
  const base = openFoundation(loaded, identity, log, stack, crash?.reached);
  stack.use(watchTopology({ path: loaded.path, live: identity.live, timers, log }));
  let started = false;
  base.checks.push({
    name: "start",
    check: async () => {
      if (!started) throw new Error("not every role has started yet");
    },
  });
  if (faults !== undefined && crash !== undefined && config.faultSocket !== undefined) {
    stack.use(await faults.startFaultHooks({ socket: config.faultSocket, clock: base.clock, crash }));
  }
  const health = createHealth({
    checks: () => base.checks,
    timers,
    timeoutMs: HEALTH_TIMEOUT_MS,
    cacheMs: HEALTH_CACHE_MS,
    failedCacheMs: FAILED_HEALTH_CACHE_MS,
  });
  const { adminHost, adminPort, host, grpcPort } = config.listen;
  stack.use(
    await startAdminServer({ host: adminHost, port: adminPort, health, metrics: () => telemetry.metricsText(), log }),
  );

  const announcer = createHolderAnnouncer({ node: nodeName(topology), clock: base.clock, timers, log });
  const oracle = createHoldingOracle({ peers: base.peers, clock: base.clock });
  if (roles.has(Role.blobNode)) await openBlobNode(base, announcer.stored, oracle, stack);
  if (roles.has(Role.gateway) || roles.has(Role.replicator) || roles.has(Role.auth)) {
    await openLogRoles(base, { announcer, oracle, health: () => health.report(), signal: options.signal }, stack);
  }
  const { address } = await base.rpc.listen({ host, port: grpcPort });
  base.rpc.serving(true);
  started = true;
  log.info("serving", { roles: [...roles].join(","), grpc: address, version });
  const opened = stack.move();
  return { [Symbol.asyncDispose]: () => opened.disposeAsync() };
}

/** The roles that work on the site's log, each after what it builds on. */
async function openLogRoles(
  base: Foundation,
  inputs: {
    readonly announcer: HolderAnnouncer;
    readonly oracle: HoldingOracle;
    readonly health: () => Promise<HealthReport>;
    readonly signal: AbortSignal;
  },
  stack: AsyncDisposableStack,
): Promise<void> {
  const { config, secrets } = base.loaded;
  const { identity, clock, log, checks, onStep } = base;
  const { roles } = identity;
  const logs = stack.use(
    await openLog(config, { identity, secrets, clock, timers, random, log, onStep, signal: inputs.signal }),
  );
  checks.push({ name: "log", check: (signal) => logs.probe(signal) });
  const policy = stack.use(await openPolicyOf(base, logs));
  const membership = stack.use(followMembers(policy, identity.live));
  const asked = roles.has(Role.gateway) || roles.has(Role.auth);
  const limits = asked ? await openLimits(base, stack) : undefined;
  if (limits !== undefined && roles.has(Role.auth)) await openAuth(base, { policy, limits }, stack);
  if (!roles.has(Role.gateway) && !roles.has(Role.replicator)) return;
  const catalog = await openCatalogOf(base, logs, stack);
  stack.use(inputs.announcer.announceTo(catalog));
  if (roles.has(Role.replicator)) {
    await openReplicator(base, { logs, catalog, policy, membership, oracle: inputs.oracle }, stack);
  }
  if (limits !== undefined && roles.has(Role.gateway)) {
    await openGateway(base, { catalog, policy, limits, logs, membership, health: inputs.health }, stack);
  }
}
