import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import type { LinkFabric } from "./link-fabric.ts";
import { hasSyncAlways, type NatsProgram } from "./nats-server.ts";
import { adminHost, bracketed, type DevOptions, edgeOrigin, type Plan, type PlannedProcess } from "./plan.ts";
import type { AdminPassword, SiteSecrets } from "./secrets.ts";
import { unixSocketPath } from "./unix-socket.ts";

/** The name of the dev cluster: its trust domain and token audience. */
export const DEV_CLUSTER = "meridian.dev";

/** Where a process's certificates lie. */
export interface CertificatePaths {
  readonly ca: string;
  readonly key: string;
  readonly cert: string;
  readonly edgeKey: string;
  readonly edgeCert: string;
}

/** What goes into the configuration of one process beside the plan. */
export interface ProcessConfigInputs {
  readonly plan: Plan;
  readonly certificates: CertificatePaths;
  readonly secrets: SiteSecrets & { readonly path: string };
  readonly admin: AdminPassword;
  readonly natsProgram?: NatsProgram;
  /** Address tables as each site sees them; see {@link addressTables}. */
  readonly addresses: ReadonlyArray<Readonly<Record<string, unknown>>>;
}

/** Writes the production configuration (`meridian serve --config …`) of one process. */
export function writeProcessConfig(process: PlannedProcess, inputs: ProcessConfigInputs): void {
  mkdirSync(process.dataDir, { recursive: true });
  const text = stringify(overlay(processConfig(process, inputs), inputs.plan.options.overlay ?? {}));
  // In one step: a running process reads it again when it changes.
  writeFileSync(`${process.configFile}.new`, text, { mode: 0o600 });
  renameSync(`${process.configFile}.new`, process.configFile);
}

function processConfig(process: PlannedProcess, inputs: ProcessConfigInputs): Record<string, unknown> {
  const { options, sites } = inputs.plan;
  const { certificates, secrets } = inputs;
  return {
    format: 1,
    topology: {
      cluster: DEV_CLUSTER,
      site: process.site,
      process: process.name,
      sites: sites.map((site) => site.name),
      processes: inputs.addresses,
    },
    dataDir: process.dataDir,
    listen: {
      host: options.host,
      grpcPort: process.port,
      ...(process.bytesPort === undefined ? {} : { bytesPort: process.bytesPort }),
      adminHost: adminHost(options),
      adminPort: process.adminPort,
    },
    tls: { ca: certificates.ca, key: certificates.key, cert: certificates.cert },
    secretsFile: secrets.path,
    log: logConfig(process, inputs),
    anonymous: options.anonymous,
    ...(process.edgePort === undefined ? {} : { gateway: gatewayConfig(process.edgePort, inputs) }),
    ...(process.roles.includes("auth") ? { auth: { bootstrap: { adminPasswordHash: inputs.admin.hash } } } : {}),
    ...(options.redisUrl === undefined ? {} : { redis: { url: options.redisUrl } }),
    ...(process.roles.includes("blob-node") ? storageConfig(process, options) : {}),
    telemetry: { ...(options.otlpUrl === undefined ? {} : { otlpUrl: options.otlpUrl, sampleRatio: 1 }) },
    logLevel: options.logLevel,
    supervised: true,
    faults: true,
    faultSocket: faultSocketPath(options.home, process),
  };
}

/** One bucket per site, in which each blob node has its own prefix. */
function storageConfig({ site, name }: PlannedProcess, { s3Url }: DevOptions): Record<string, unknown> {
  if (s3Url === undefined) return {};
  const prefix = name === "site" ? {} : { prefix: name };
  return { storage: { s3: { endpoint: s3Url, bucket: `meridian-${site}`, ...prefix, createBucket: true } } };
}

/** The Unix socket on which a process takes fault commands. */
export function faultSocketPath(home: string, process: Pick<PlannedProcess, "site" | "name">): string {
  return unixSocketPath(join(home, "sites", process.site, `${process.name}.sock`));
}

function gatewayConfig(edgePort: number, { plan, certificates }: ProcessConfigInputs): Record<string, unknown> {
  const { host, http } = plan.options;
  return {
    host,
    port: edgePort,
    ...(http ? {} : { tls: { key: certificates.edgeKey, cert: certificates.edgeCert } }),
  };
}

function logConfig(process: PlannedProcess, { plan, natsProgram }: ProcessConfigInputs): Record<string, unknown> {
  if (natsProgram === undefined) return { driver: "embedded" };
  const site = plan.sites.find((one) => one.name === process.site);
  const server = site?.processes.find((one) => one.service === "nats-server");
  return {
    driver: "nats",
    servers: [`${bracketed(plan.options.host)}:${server?.port}`],
    user: process.site,
    durableAcks: hasSyncAlways(natsProgram),
  };
}

/**
 * The cluster's address table as each site sees it: its own processes directly, those of other sites through the
 * link proxies when there are any.
 */
export async function addressTables(
  plan: Plan,
  fabric: LinkFabric | undefined,
): Promise<Map<string, Array<Record<string, unknown>>>> {
  const { host } = plan.options;
  const tables = new Map<string, Array<Record<string, unknown>>>();
  for (const viewer of plan.sites) {
    const table: Array<Record<string, unknown>> = [];
    for (const process of plan.sites.flatMap((site) => site.processes)) {
      if (process.service === "nats-server") continue;
      const through = (port: number): Promise<string> => {
        const target = `${bracketed(host)}:${port}`;
        return fabric === undefined || process.site === viewer.name
          ? Promise.resolve(target)
          : fabric.proxy(viewer.name, process.site, target);
      };
      const edge = process.edgePort;
      table.push({
        site: process.site,
        process: process.name,
        roles: process.roles,
        grpc: await through(process.port),
        ...(process.bytesPort === undefined ? {} : { bytes: `https://${await through(process.bytesPort)}` }),
        ...(edge === undefined
          ? {}
          : { edge: edgeOrigin(plan.options, edge).replace(/\/\/.*/, `//${await through(edge)}`) }),
      });
    }
    tables.set(viewer.name, table);
  }
  return tables;
}

/** Lays `over` on `base`: objects are merged, everything else is replaced. */
export function overlay(
  base: Record<string, unknown>,
  over: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const merged = { ...base };
  for (const [key, value] of Object.entries(over)) {
    const old = merged[key];
    merged[key] = isPlain(old) && isPlain(value) ? overlay(old, value) : value;
  }
  return merged;
}

function isPlain(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
