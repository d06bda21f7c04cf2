import { z } from "zod";
import { type ProcessAddress, Role, type Topology } from "./topology.ts";

/** A site or process name: a DNS label, because it becomes part of subjects, stream names and certificate URIs. */
const NAME = /^[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?$/;
const TRUST_DOMAIN = /^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/;

const name = z.string().regex(NAME, "must be 1–32 lower-case letters, digits and inner hyphens");

const hostAndPort = z.string().refine(isHostAndPort, "must be host:port, e.g. eu.example.com:7000 or [::1]:7000");

function origin(...schemes: readonly string[]): z.ZodString {
  const wanted = schemes.map((scheme) => `${scheme}://host:port`).join(" or ");
  return z.string().refine((text) => isOrigin(text, schemes), `must be an origin without a path: ${wanted}`);
}

/** True for what may be the name of a site or process. */
export function isSiteName(text: string): boolean {
  return NAME.test(text);
}

/** A process of a site that is known. */
export const memberProcessSchema = z.strictObject({
  /** Unique inside the site; "site" by custom when one process runs all roles. */
  process: name,
  /** What it runs: gateway, blob-node, replicator, auth. */
  roles: z.array(z.enum(Object.values(Role))).nonempty("must name at least one role"),
  /** host:port where other processes reach its gRPC listener (mTLS). */
  grpc: hostAndPort,
  /** https origin of its byte listener; required with the blob-node role, refused without. */
  bytes: origin("https").optional(),
  /** Origin of its OCI listener; only with the gateway role. */
  edge: origin("https", "http").optional(),
  /** What a blob node shares with others of its site, e.g. a rack: copies of a blob avoid sharing one. Only with the blob-node role. */
  zone: name.optional(),
});

/** The site it belongs to, and where it is. */
const processSchema = memberProcessSchema.extend({ site: name });

/**
 * The cluster's table in a configuration file: unknown keys are refused, and every problem is listed, not only the first.
 * The parsed value is a {@link Topology}.
 */
export const topologySchema = z
  .strictObject({
    /** The cluster's name: trust domain of its certificates and audience of its tokens. */
    cluster: z.string().regex(TRUST_DOMAIN, "must be a lower-case DNS name"),
    /** The site that this process belongs to. */
    site: name,
    /** This process; must be listed in `processes`. */
    process: name,
    /** All members in the order of the first membership; the first is the policy log's home. */
    sites: z.array(name).nonempty("must list at least this site"),
    /** Every process of every site, the same list everywhere. */
    processes: z.array(processSchema),
  })
  .check(({ value, issues }) => {
    for (const { path, message } of topologyProblems(value)) {
      issues.push({ code: "custom", input: value, path: [...path], message });
    }
  });

/** The table could be read but does not fit together. */
interface TopologyProblem {
  readonly path: readonly (string | number)[];
  readonly message: string;
}

/** What is wrong with the processes of one site; empty when they fit together. */
export function memberProblems(processes: readonly ProcessAddress[]): string[] {
  return [...uniquenessProblems({ processes }), ...roleProblems({ processes })].map(({ message }) => message);
}

function topologyProblems(topology: Topology): TopologyProblem[] {
  return [...membershipProblems(topology), ...uniquenessProblems(topology), ...roleProblems(topology)];
}

function membershipProblems({ site, process, sites, processes }: Topology): TopologyProblem[] {
  const problems: TopologyProblem[] = [];
  for (const [index, repeated] of repeats(sites)) {
    problems.push({ path: ["sites", index], message: `site "${repeated}" is listed twice` });
  }
  if (!sites.includes(site)) problems.push({ path: ["site"], message: `site "${site}" is not one of sites` });
  processes.forEach((listed, index) => {
    if (sites.includes(listed.site)) return;
    problems.push({ path: ["processes", index, "site"], message: `site "${listed.site}" is not one of sites` });
  });
  if (!processes.some((listed) => listed.site === site && listed.process === process)) {
    problems.push({ path: ["process"], message: `process "${site}/${process}" is not listed in processes` });
  }
  return problems;
}

function uniquenessProblems({ processes }: Pick<Topology, "processes">): TopologyProblem[] {
  const problems: TopologyProblem[] = [];
  for (const [index, repeated] of repeats(processes.map((listed) => `${listed.site}/${listed.process}`))) {
    problems.push({ path: ["processes", index, "process"], message: `process "${repeated}" is listed twice` });
  }
  for (const key of ["grpc", "bytes", "edge"] as const) {
    for (const [index, repeated] of repeats(processes.map((listed) => listed[key]))) {
      problems.push({ path: ["processes", index, key], message: `address ${repeated} is used by an earlier process` });
    }
  }
  return problems;
}

function roleProblems({ processes }: Pick<Topology, "processes">): TopologyProblem[] {
  const problems: TopologyProblem[] = [];
  processes.forEach((listed, index) => {
    const at = (key: string, message: string): void => void problems.push({ path: ["processes", index, key], message });
    for (const [, repeated] of repeats(listed.roles)) at("roles", `role "${repeated}" is listed twice`);
    const blobNode = listed.roles.includes(Role.blobNode);
    if (blobNode && listed.bytes === undefined) at("bytes", "a blob-node needs the origin of its byte listener");
    if (!blobNode && listed.bytes !== undefined) at("bytes", "only a blob-node has a byte listener");
    if (!blobNode && listed.zone !== undefined) at("zone", "only a blob-node has a zone");
    if (listed.edge !== undefined && !listed.roles.includes(Role.gateway))
      at("edge", "only a gateway has an OCI listener");
    if (
      listed.roles.includes(Role.auth) &&
      processes.findIndex((one) => one.site === listed.site && one.roles.includes(Role.auth)) !== index
    )
      at("roles", `site "${listed.site}" has an auth already: one process of a site keeps its copy of the policy log`);
  });
  return problems;
}

/** Index and value of each item that an earlier one equals; undefined items are left out. */
function repeats<T>(items: readonly (T | undefined)[]): [number, T][] {
  const seen = new Set<T>();
  const found: [number, T][] = [];
  items.forEach((item, index) => {
    if (item === undefined) return;
    if (seen.has(item)) found.push([index, item]);
    seen.add(item);
  });
  return found;
}

function isHostAndPort(text: string): boolean {
  const match = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})$/.exec(text);
  if (match === null) return false;
  const port = Number(match[2]);
  return port >= 1 && port <= 65_535 && URL.canParse(`http://${text}`);
}

/** Exactly `scheme://host[:port]`: RFC 6454 §6.2, without the slash that URL adds. */
function isOrigin(text: string, schemes: readonly string[]): boolean {
  if (!URL.canParse(text)) return false;
  const url = new URL(text);
  const plain = /^[a-z]+:\/\/(?:\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?$/;
  return schemes.includes(url.protocol.slice(0, -1)) && plain.test(text);
}
