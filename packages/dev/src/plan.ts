import { createServer } from "node:net";
import { join } from "node:path";
import { readAddedNodes } from "./added-nodes.ts";
import { sitesInOrder } from "./changed-sites.ts";

/** What `meridian dev` was asked for; every field has its default filled in. */
export interface DevOptions {
  /** Absolute path of the data folder. */
  readonly home: string;
  readonly sites: readonly string[];
  readonly host: string;
  /** The first site's gateway port; the next site's is one more, a site's further gateways add 100 each. */
  readonly basePort: number;
  /** Plain HTTP at the edge; loopback only. */
  readonly http: boolean;
  readonly anonymous: "none" | "pull" | "admin";
  /** One nats-server per site, every service its own process. */
  readonly nats: boolean;
  /** Blob nodes per site; more than one only with `nats`. */
  readonly blobNodes: number;
  /** Gateways per site; more than one only with `nats`. */
  readonly gateways: number;
  /** Replicators per site; more than one only with `nats`. */
  readonly replicators: number;
  /** Delay proxies between sites. */
  readonly links: boolean;
  /** Round trips in milliseconds by pair, as "eu-us". */
  readonly rttMs: Readonly<Record<string, number>>;
  readonly otlpUrl?: string;
  /** Redis that all sites use, each with keys of its own. */
  readonly redisUrl?: string;
  /** Origin of an S3 service that keeps the blobs, a bucket per site; absent: files. Credentials come from `AWS_*`. */
  readonly s3Url?: string;
  /** YAML text laid over each process's configuration. */
  readonly overlay?: Readonly<Record<string, unknown>>;
  readonly logLevel: "debug" | "info" | "warn" | "error";
}

/** One process that the supervisor runs. */
export interface PlannedProcess {
  readonly site: string;
  /** Unique inside the site: "site", "gateway-1", "nats-1" … */
  readonly name: string;
  /** What run.json calls it: "site" when one process has several roles. */
  readonly service: "site" | "gateway" | "blob-node" | "replicator" | "auth" | "nats-server";
  readonly roles: readonly ("gateway" | "blob-node" | "replicator" | "auth")[];
  readonly adminPort: number;
  /** gRPC, or the client port of a nats-server. */
  readonly port: number;
  readonly bytesPort?: number;
  readonly edgePort?: number;
  readonly dataDir: string;
  readonly configFile: string;
  readonly logFile: string;
}

export interface PlannedSite {
  readonly name: string;
  /** The first gateway's origin. */
  readonly gateway: string;
  /** Origin of the admin listener of the process that runs the first gateway. */
  readonly admin: string;
  /** Grows when a node is added while the cluster runs. */
  readonly processes: PlannedProcess[];
}

/** Everything the supervisor runs, with every port chosen. */
export interface Plan {
  readonly options: DevOptions;
  /** Changes when a site comes or goes while the cluster runs. */
  readonly sites: PlannedSite[];
}

/** An address that cannot be bound, with what to do about it. */
export class PortTakenError extends Error {
  override readonly name = "PortTakenError";
}

/**
 * Chooses processes and ports. Edge ports are fixed by the options; internal ones start 10 000 above the base port,
 * below the range that the system gives to outgoing connections, and skip what is taken.
 * @throws PortTakenError one line per edge port that is in use.
 */
export async function makePlan(options: DevOptions): Promise<Plan> {
  const nextPort = portPicker(options.host, options.basePort + 10_000);
  const sites: PlannedSite[] = [];
  const problems: string[] = [];
  for (const [index, { name, runs }] of sitesInOrder(options).entries()) {
    if (runs) sites.push(await planSite(name, { options, index, nextPort, problems }));
  }
  if (problems.length > 0) throw new PortTakenError(problems.join("\n"));
  return { options, sites };
}

async function planSite(
  name: string,
  {
    options,
    index,
    nextPort,
    problems,
  }: {
    readonly options: DevOptions;
    /** Its place among all sites that ever were. */
    readonly index: number;
    readonly nextPort: () => Promise<number>;
    readonly problems: string[];
  },
): Promise<PlannedSite> {
  const processes: PlannedProcess[] = [];
  for (const shape of processShapes(options, name)) {
    const edgePort = shape.gateway === undefined ? undefined : options.basePort + index + 100 * shape.gateway;
    if (edgePort !== undefined && !(await isFree(options.host, edgePort))) {
      problems.push(
        `port ${edgePort} on ${options.host} is in use (site ${name}): stop what uses it, or choose another --base-port`,
      );
    }
    const planned = await planProcess(shape, name, options, nextPort);
    processes.push(edgePort === undefined ? planned : { ...planned, edgePort });
  }
  return describeSite(name, options, processes);
}

/** A site beside those that a running plan has. @throws Error in one line when it cannot be. */
export async function planNewSite(plan: Plan, name: string): Promise<PlannedSite> {
  const { options } = plan;
  if (!NODE_NAME.test(name)) {
    throw new Error(`"${name}" is no name for a site: 1 to 32 lower-case letters, digits and inner hyphens`);
  }
  if (plan.sites.some((one) => one.name === name)) throw new Error(`site ${name} is there already`);
  const known = sitesInOrder(options).findIndex((one) => one.name === name);
  const index = known < 0 ? sitesInOrder(options).length : known;
  const problems: string[] = [];
  const nextPort = portPicker(options.host, Math.max(...portsOf(plan)) + 1);
  const planned = await planSite(name, { options, index, nextPort, problems });
  if (problems.length > 0) throw new PortTakenError(problems.join("\n"));
  return planned;
}

/** All ports that are planned, whether what uses them runs now or not. */
function portsOf(plan: Plan): number[] {
  return plan.sites.flatMap(({ processes }) =>
    processes.flatMap(({ port, adminPort, bytesPort }) => [port, adminPort, bytesPort ?? 0]),
  );
}

async function planProcess(
  shape: ProcessShape,
  site: string,
  options: DevOptions,
  nextPort: () => Promise<number>,
): Promise<PlannedProcess> {
  const folder = join(options.home, "sites", site);
  return {
    site,
    name: shape.name,
    service: shape.service,
    roles: shape.roles,
    port: await nextPort(),
    adminPort: await nextPort(),
    ...(shape.roles.includes("blob-node") ? { bytesPort: await nextPort() } : {}),
    dataDir: join(folder, shape.name),
    configFile: join(folder, `${shape.name}.${shape.service === "nats-server" ? "conf" : "yaml"}`),
    logFile: join(folder, `${shape.name}.log`),
  };
}

/** A blob node beside those that a running plan has. @throws Error in one line when it cannot be. */
export async function planBlobNode(plan: Plan, site: string, name: string): Promise<PlannedProcess> {
  const planned = plan.sites.find((one) => one.name === site);
  if (planned === undefined) {
    throw new Error(`no site "${site}"; there are ${plan.sites.map((one) => one.name).join(", ")}`);
  }
  if (!plan.options.nats) {
    throw new Error("every site of this cluster is one process: start it with --nats to add blob nodes");
  }
  if (!NODE_NAME.test(name)) {
    throw new Error(`"${name}" is no name for a process: 1 to 32 lower-case letters, digits and inner hyphens`);
  }
  if (planned.processes.some((one) => one.name === name)) throw new Error(`${site}/${name} is there already`);
  return await planProcess(
    blobNodeShape(name),
    site,
    plan.options,
    portPicker(plan.options.host, Math.max(...portsOf(plan)) + 1),
  );
}

const NODE_NAME = /^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/;

function blobNodeShape(name: string): ProcessShape {
  return { name, service: "blob-node", roles: ["blob-node"] };
}

function describeSite(name: string, options: DevOptions, processes: PlannedProcess[]): PlannedSite {
  const first = processes.find((process) => process.edgePort !== undefined);
  if (first === undefined) throw new Error(`site ${name} has no gateway`);
  return {
    name,
    gateway: edgeOrigin(options, first.edgePort ?? 0),
    admin: `http://${bracketed(adminHost(options))}:${first.adminPort}`,
    processes,
  };
}

/** Where admin listeners bind: plain HTTP that tells much, so loopback, of the kind that the cluster uses. */
export function adminHost({ host }: Pick<DevOptions, "host">): string {
  return host.includes(":") ? "::1" : "127.0.0.1";
}

/** The origin that clients use for a gateway's port. */
export function edgeOrigin(options: Pick<DevOptions, "http" | "host">, port: number): string {
  return `${options.http ? "http" : "https"}://${bracketed(options.host)}:${port}`;
}

/** An IPv6 address as URLs and host:port forms want it. */
export function bracketed(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

interface ProcessShape {
  readonly name: string;
  readonly service: PlannedProcess["service"];
  readonly roles: PlannedProcess["roles"];
  /** Index of the gateway inside the site. */
  readonly gateway?: number;
}

function processShapes(options: DevOptions, site: string): ProcessShape[] {
  if (!options.nats) {
    return [{ name: "site", service: "site", roles: ["gateway", "blob-node", "replicator", "auth"], gateway: 0 }];
  }
  const count = (n: number): number[] => Array.from({ length: n }, (_, i) => i);
  return [
    { name: "nats-1", service: "nats-server", roles: [] },
    { name: "auth-1", service: "auth", roles: ["auth"] },
    ...blobNodeNames(options, site).map(blobNodeShape),
    ...count(options.replicators).map(
      (i): ProcessShape => ({ name: `replicator-${i + 1}`, service: "replicator", roles: ["replicator"] }),
    ),
    ...count(options.gateways).map(
      (i): ProcessShape => ({ name: `gateway-${i + 1}`, service: "gateway", roles: ["gateway"], gateway: i }),
    ),
  ];
}

function blobNodeNames({ home, blobNodes }: DevOptions, site: string): string[] {
  const numbered = Array.from({ length: blobNodes }, (_, i) => `blob-node-${i + 1}`);
  return [...new Set([...numbered, ...readAddedNodes(home, site)])];
}

function portPicker(host: string, first: number): () => Promise<number> {
  let candidate = first;
  return async () => {
    for (; candidate < 65_536; candidate++) {
      if (await isFree(host, candidate)) return candidate++;
    }
    throw new PortTakenError(`no free port from ${first} upwards on ${host}: choose a lower --base-port`);
  };
}

function isFree(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createServer();
    probe.once("error", () => resolve(false));
    probe.listen({ host, port, exclusive: true }, () => probe.close(() => resolve(true)));
  });
}
