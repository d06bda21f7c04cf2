import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { env } from "node:process";
import { ensureDevPki } from "@meridian/pki";
import type { Clock, Logger, Timers } from "@meridian/runtime";
import { writeAddedNode } from "./added-nodes.ts";
import { rememberAdded, rememberLeft } from "./changed-sites.ts";
import { startCommandServer } from "./command-server.ts";
import { endLeftovers } from "./leftovers.ts";
import { createLinkFabric, type LinkFabric } from "./link-fabric.ts";
import { findNatsServer, writeNatsConfig } from "./nats-server.ts";
import {
  bracketed,
  type DevOptions,
  makePlan,
  type Plan,
  type PlannedProcess,
  planBlobNode,
  planNewSite,
} from "./plan.ts";
import { addressTables, DEV_CLUSTER, writeProcessConfig } from "./process-config.ts";
import { allReady } from "./readiness.ts";
import { ensureAdminPassword, ensureSiteSecrets } from "./secrets.ts";
import { createSupervisor } from "./supervisor.ts";
import { unixSocketPath } from "./unix-socket.ts";

/** A running dev cluster; disposing it stops every process and keeps all data. */
export interface DevCluster extends AsyncDisposable {
  readonly plan: Plan;
  readonly caFile: string;
  readonly adminPasswordFile: string;
  /** Resolves when every gateway answers 200 at /readyz; rejects with what is missing when the signal aborts first. */
  ready(options: { onProgress?: (message: string) => void; signal: AbortSignal }): Promise<void>;
}

/**
 * Starts a cluster as the options say: keys and passwords on first start, one configuration file per process, link
 * proxies, nats-servers, then the production command for each process.
 * @throws PortTakenError, AlreadyRunningError, or Error with one clear line.
 */
export async function startDevCluster(parameters: {
  readonly options: DevOptions;
  /** How `meridian serve --config <file>` is run on this machine. */
  readonly serve: { readonly executable: string; readonly args: readonly string[] };
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
}): Promise<DevCluster> {
  const { options, serve, clock, timers, log } = parameters;
  makeHome(options.home);
  const left = await endLeftovers(options.home, timers);
  if (left > 0) log.info(`ended ${left} processes that an earlier run had left`);
  const natsProgram = options.nats ? findNatsServer() : undefined;
  const plan = await makePlan(options);

  await using stack = new AsyncDisposableStack();
  const names = plan.sites.map(({ name }) => name);
  const fabric = options.links
    ? stack.use(createLinkFabric({ sites: names, host: options.host, rttMs: options.rttMs }))
    : undefined;
  const admin = await ensureAdminPassword(options.home);
  await writeConfigs({ plan, fabric, clock, natsProgram, admin });

  const socket = unixSocketPath(join(options.home, "supervisor.sock"));
  const supervisor = stack.use(
    createSupervisor({
      plan,
      socket,
      fabric,
      timers,
      log,
      command: (process) => childCommand(process, plan, serve, natsProgram?.path),
    }),
  );
  for (const site of names) supervisor.startSite(site);
  const addNode = async (name: string): Promise<void> => {
    const [site = "", node = ""] = name.split("/");
    const planned = await planBlobNode(plan, site, node);
    plan.sites.find((one) => one.name === site)?.processes.push(planned);
    writeAddedNode(options.home, site, node);
    // Every running process takes its new table over by itself.
    await writeConfigs({ plan, fabric, clock, natsProgram, admin });
    supervisor.add(planned);
  };
  const rewrite = (): Promise<void> => writeConfigs({ plan, fabric, clock, natsProgram, admin });
  const forgetSite = async (name: string): Promise<void> => {
    if (plan.sites.length === 1) throw new Error(`${name} is the only site of this cluster`);
    await supervisor.forgetSite(name);
    rememberLeft(options.home, name);
    await rewrite();
  };
  const addSite = async (name: string, wipe: boolean): Promise<void> => {
    const runs = plan.sites.some((one) => one.name === name);
    if (runs && !wipe) return;
    if (runs) await forgetSite(name);
    const planned = await planNewSite(plan, name);
    if (wipe) for (const { dataDir } of planned.processes) rmSync(dataDir, { recursive: true, force: true });
    plan.sites.push(planned);
    rememberAdded(options.home, name);
    fabric?.addSite(name);
    await rewrite();
    for (const process of planned.processes) supervisor.add(process);
  };
  stack.use(await startCommandServer({ socket, supervisor, fabric, addNode, addSite, forgetSite }));
  const opened = stack.move();
  const caFile = join(options.home, "ca.pem");
  return {
    plan,
    caFile,
    adminPasswordFile: admin.path,
    ready: ({ onProgress, signal }) =>
      allReady({
        plan,
        ca: readFileSync(caFile, "utf8"),
        timers,
        signal,
        ...(onProgress === undefined ? {} : { onProgress }),
      }),
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

function makeHome(home: string): void {
  try {
    mkdirSync(join(home, "sites"), { recursive: true });
    writeFileSync(join(home, ".gitignore"), "*\n");
  } catch (cause) {
    throw new Error(
      `the data folder ${home} cannot be written (${(cause as NodeJS.ErrnoException).code}): mend its permissions, or choose another with --home or MERIDIAN_HOME`,
      { cause },
    );
  }
}

async function writeConfigs(inputs: {
  plan: Plan;
  fabric: LinkFabric | undefined;
  clock: Clock;
  natsProgram: ReturnType<typeof findNatsServer> | undefined;
  admin: Awaited<ReturnType<typeof ensureAdminPassword>>;
}): Promise<void> {
  const { plan, fabric, natsProgram, admin, clock } = inputs;
  const { home, host } = plan.options;
  const pki = await ensureDevPki({
    dir: join(home, "pki"),
    trustDomain: DEV_CLUSTER,
    clock,
    sites: plan.sites.map((site) => ({
      name: site.name,
      processes: site.processes
        .filter((process) => process.service !== "nats-server")
        .map((process) => ({ process: process.name, service: process.service })),
      edgeNames: ["127.0.0.1", "::1", "localhost", ...(["127.0.0.1", "::1", "localhost"].includes(host) ? [] : [host])],
    })),
  });
  copyFileSync(pki.ca, join(home, "ca.pem"));
  const addresses = await addressTables(plan, fabric);
  for (const site of plan.sites) {
    const secrets = ensureSiteSecrets(home, site.name);
    for (const process of site.processes) {
      if (process.service === "nats-server" && natsProgram !== undefined) {
        mkdirSync(process.dataDir, { recursive: true });
        writeNatsConfig(process, { host, program: natsProgram, user: site.name, password: secrets.natsPassword });
        continue;
      }
      const folder = join(home, "pki", site.name);
      const certificates = {
        ca: pki.ca,
        key: join(folder, `${process.name}.key`),
        cert: join(folder, `${process.name}.pem`),
        edgeKey: join(folder, "edge.key"),
        edgeCert: join(folder, "edge.pem"),
      };
      writeProcessConfig(process, {
        plan,
        certificates,
        secrets,
        admin,
        ...(natsProgram === undefined ? {} : { natsProgram }),
        addresses: addresses.get(site.name) ?? [],
      });
      if (process.edgePort !== undefined && !plan.options.http)
        writeCertsD(home, `${bracketed(host)}:${process.edgePort}`);
    }
  }
}

/** `certs.d/<host:port>/ca.crt`: the layout of containers-certs.d(5), for skopeo's --cert-dir, podman and docker. */
function writeCertsD(home: string, registry: string): void {
  const folder = join(home, "certs.d", registry);
  mkdirSync(folder, { recursive: true });
  copyFileSync(join(home, "ca.pem"), join(folder, "ca.crt"));
}

function childCommand(
  process: PlannedProcess,
  plan: Plan,
  serve: { readonly executable: string; readonly args: readonly string[] },
  natsPath: string | undefined,
): { executable: string; args: readonly string[]; env?: Record<string, string> } {
  if (process.service === "nats-server") {
    return { executable: natsPath ?? "nats-server", args: ["--config", process.configFile] };
  }
  return {
    executable: serve.executable,
    args: [...serve.args, "serve", "--config", process.configFile],
    env: { NODE_COMPILE_CACHE: env.NODE_COMPILE_CACHE ?? join(plan.options.home, "compile-cache") },
  };
}
