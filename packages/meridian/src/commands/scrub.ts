import { setTimeout as sleep } from "node:timers/promises";
import { describeError, openRegistry, type RegistryClient } from "../client/registry-client.ts";
import { failure } from "../exit-status.ts";
import type { ServerOptions } from "../program/command.ts";
import { formatTable } from "./table.ts";

/** How far one node is, as a gateway tells it. Numbers and times are absent for a node that cannot be reached. */
interface NodeScrub {
  readonly node: string;
  readonly state: "idle" | "running" | "paused" | "unsupported" | "unreachable" | "unknown";
  readonly message?: string;
  readonly blobsChecked?: number;
  readonly blobsTotal?: number;
  readonly bytesChecked?: number;
  readonly bytesTotal?: number;
  readonly damaged?: number;
  readonly lost?: number;
  readonly quarantined?: number;
  readonly startedAt?: string | null;
  readonly finishedAt?: string | null;
  readonly nextAt?: string | null;
}

interface SiteScrub {
  readonly site: string;
  readonly nodes: readonly NodeScrub[];
}

const PROGRESS_EVERY_MS = 1_000;

export async function runScrubStatus(site: string | undefined, options: ServerOptions): Promise<void> {
  const client = openRegistry(options);
  print(await askAll(client, "GET", site), options);
}

export async function runScrubStart(
  site: string | undefined,
  options: ServerOptions & { wait?: boolean },
): Promise<void> {
  const client = openRegistry(options);
  let sites = await askAll(client, "POST", site, "start");
  requireAnswers(sites);
  while (options.wait && nodesOf(sites).some(({ state }) => state === "running")) {
    if (!options.json) process.stderr.write(`${nodesOf(sites).map(progressOf).join(", ")}\n`);
    await sleep(PROGRESS_EVERY_MS);
    sites = await askAll(client, "GET", site);
  }
  print(sites, options);
  const lost = nodesOf(sites).reduce((sum, node) => sum + (node.lost ?? 0), 0);
  if (options.wait && lost > 0) throw failure(`${lost} blobs have no right copy on their node yet`);
}

export async function runScrubPause(site: string | undefined, options: ServerOptions): Promise<void> {
  const sites = await askAll(openRegistry(options), "POST", site, "pause");
  requireAnswers(sites);
  print(sites, options);
}

/** The named site, or all of the cluster. */
async function askAll(
  client: RegistryClient,
  method: "GET" | "POST",
  site: string | undefined,
  action?: string,
): Promise<SiteScrub[]> {
  const names = site === undefined ? await sitesOf(client) : [site];
  return Promise.all(
    names.map(async (name): Promise<SiteScrub> => {
      const query = new URLSearchParams({ site: name, ...(action !== undefined && { action }) });
      const answer = await client.call(`/v2/_meridian/scrub?${query}`, { method, timeoutMs: 30_000 });
      if (answer.status === 200) return JSON.parse(answer.text) as SiteScrub;
      if (site !== undefined) throw failure(`${client.server}: ${describeError(answer)}`);
      return { site: name, nodes: [{ node: `${name}/*`, state: "unreachable", message: describeError(answer) }] };
    }),
  );
}

async function sitesOf(client: RegistryClient): Promise<string[]> {
  const answer = await client.call("/v2/_meridian/status");
  if (answer.status !== 200) throw failure(`${client.server}: ${describeError(answer)}`);
  return (JSON.parse(answer.text) as { sites: { name: string }[] }).sites.map(({ name }) => name);
}

function requireAnswers(sites: readonly SiteScrub[]): void {
  const silent = nodesOf(sites).filter(({ state }) => state === "unreachable");
  if (silent.length === 0) return;
  throw failure(silent.map(({ node, message }) => `${node} could not be told: ${message}`).join("\n"));
}

function nodesOf(sites: readonly SiteScrub[]): NodeScrub[] {
  return sites.flatMap(({ nodes }) => nodes);
}

function print(sites: readonly SiteScrub[], { json }: ServerOptions): void {
  if (json) {
    process.stdout.write(`${JSON.stringify({ sites })}\n`);
    return;
  }
  const rows = nodesOf(sites).map((node) => [
    node.node,
    node.state,
    node.state === "unreachable" ? "-" : shareOf(node),
    String(node.blobsChecked ?? "-"),
    String(node.damaged ?? "-"),
    String(node.lost ?? "-"),
    String(node.quarantined ?? "-"),
    node.finishedAt ?? "-",
    node.message ?? node.nextAt ?? "-",
  ]);
  const heading = ["NODE", "STATE", "PROGRESS", "BLOBS", "DAMAGED", "LOST", "QUARANTINED", "FINISHED", "NEXT"];
  process.stdout.write(formatTable(heading, rows));
}

function progressOf(node: NodeScrub): string {
  return `${node.node} ${node.state} ${shareOf(node)}`;
}

/** Blobs may come and go during a pass, so that it never says 100 % before the end. */
function shareOf({ state, blobsChecked = 0, bytesChecked = 0, bytesTotal = 0, finishedAt }: NodeScrub): string {
  if (state === "idle") return finishedAt ? "done" : "-";
  if (bytesTotal === 0) return `${blobsChecked} blobs`;
  return `${Math.min(99, Math.floor((bytesChecked / bytesTotal) * 100))} %`;
}
