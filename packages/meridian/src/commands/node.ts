import { setTimeout as pause } from "node:timers/promises";
import { type DevCommand, sendCommand } from "@meridian/dev/control";
import { describeError, openRegistry, type RegistryClient } from "../client/registry-client.ts";
import { failure, usageError } from "../exit-status.ts";
import type { ServerOptions } from "../program/command.ts";
import { runningCluster } from "../running-cluster.ts";
import { parseDuration } from "./duration.ts";
import { formatTable } from "./table.ts";

interface WaitOptions extends ServerOptions {
  readonly wait?: boolean;
  readonly timeout: string;
}

/** One blob node, as its site's gateway describes it; figures are null while it does not answer. */
interface NodeStatus {
  readonly node: string;
  readonly zone: string | null;
  readonly state: "active" | "draining" | "empty" | "away";
  /** False until the gateway has heard of it, or while it is silent. */
  readonly answers: boolean;
  readonly blobs: number | null;
  readonly bytes: number | null;
  readonly freeBytes: number | null;
  readonly atDrainStart: { readonly blobs: number; readonly bytes: number } | null;
}

interface SiteNodes {
  readonly site: string;
  readonly copies: number;
  readonly nodes: readonly NodeStatus[];
  readonly settling: { readonly waiting: number; readonly failed: number; readonly scanning: boolean } | null;
}

const POLL_MS = 1_000;
/** A node that was just started has to be taken over by every process first. */
const APPEAR_MS = 60_000;
/** Copies are looked at a moment after a change: so many looks in a row must find nothing left to do. */
const QUIET_POLLS = 4;

export async function runNodeList(site: string | undefined, options: ServerOptions): Promise<void> {
  const client = openRegistry(options);
  const names = site === undefined ? await siteNames(client) : [site];
  const sites = await Promise.all(names.map((name) => siteNodes(client, name)));
  if (options.json) return void process.stdout.write(`${JSON.stringify({ sites })}\n`);
  const rows = sites.flatMap(({ nodes }) => nodes.map(rowOf));
  process.stdout.write(formatTable(["NODE", "ZONE", "STATE", "BLOBS", "BYTES", "FREE", ""], rows));
  const lines = sites.map((one) => `${one.site}: ${one.copies} copies of each blob; ${describeSettling(one)}\n`);
  process.stdout.write(`\n${lines.join("")}`);
}

export async function runNodeAdd(name: string, options: WaitOptions): Promise<void> {
  const { site } = parseNode(name);
  const client = openRegistry(options);
  const isKnown = (nodes: SiteNodes): boolean => nodes.nodes.some(({ node }) => node === name);
  if (!isKnown(await siteNodes(client, site)) && isDevCluster(client, options)) {
    await addToDevCluster(name, options);
    const deadline = performance.now() + APPEAR_MS;
    while (statusOf(await siteNodes(client, site), name)?.state !== "active") {
      if (performance.now() > deadline) throw failure(`${name} was made and does not answer: see its log`);
      await pause(POLL_MS);
    }
  }
  await change(client, name, "active");
  await finish(client, name, options, (nodes) => statusOf(nodes, name)?.state === "active", "takes bytes");
}

export async function runNodeDrain(name: string, options: WaitOptions): Promise<void> {
  parseNode(name);
  const client = openRegistry(options);
  await change(client, name, "draining");
  await finish(client, name, options, (nodes) => statusOf(nodes, name)?.state === "empty", "is empty");
}

/** Says how the node is; with --wait once `isDone` holds and no copy is left to be settled. */
async function finish(
  client: RegistryClient,
  name: string,
  options: WaitOptions,
  isDone: (nodes: SiteNodes) => boolean,
  done: string,
): Promise<void> {
  const { site } = parseNode(name);
  const deadline = performance.now() + parseDuration(options.timeout);
  let quiet = 0;
  let told = "";
  for (;;) {
    const nodes = await siteNodes(client, site);
    const status = statusOf(nodes, name);
    quiet = isDone(nodes) && isSettled(nodes) ? quiet + 1 : 0;
    const isOver = quiet >= QUIET_POLLS;
    if (options.wait !== true || isOver) {
      const text = isOver ? `${name} ${done}, and every copy is where it belongs` : `${name} is ${describe(status)}`;
      process.stdout.write(options.json ? `${JSON.stringify({ ...status, settling: nodes.settling })}\n` : `${text}\n`);
      return;
    }
    if (performance.now() > deadline)
      throw failure(`${name} is ${describe(status)} after ${options.timeout}; ${describeSettling(nodes)}. It goes on`);
    const line = `${name}: ${describe(status)}; ${describeSettling(nodes)}\n`;
    if (!options.json && line !== told) process.stderr.write(line);
    told = line;
    await pause(POLL_MS);
  }
}

function isSettled({ settling }: SiteNodes): boolean {
  return settling !== null && settling.waiting === 0 && !settling.scanning;
}

function statusOf({ nodes }: SiteNodes, name: string): NodeStatus | undefined {
  return nodes.find(({ node }) => node === name);
}

function describe(status: NodeStatus | undefined): string {
  if (status === undefined) return "not known to its site yet";
  const { state, blobs, bytes, atDrainStart } = status;
  if (state !== "draining" || blobs === null || bytes === null) return state;
  const of = atDrainStart === null ? "" : ` of ${Math.max(atDrainStart.blobs, blobs)}`;
  return `draining: ${blobs}${of} blobs left (${megabytes(bytes)})`;
}

function describeSettling({ settling }: SiteNodes): string {
  if (settling === null) return "its replicator does not answer";
  if (settling.waiting > 0) return `${settling.waiting} blobs have copies to be made or removed`;
  return settling.scanning ? "looking through all blobs" : "every copy is where it belongs";
}

function rowOf(status: NodeStatus): string[] {
  const { node, zone, state, blobs, bytes, freeBytes } = status;
  const figure = (value: number | null): string => (value === null ? "-" : megabytes(value));
  const progress = state === "draining" ? describe(status) : "";
  return [node, zone ?? "-", state, blobs === null ? "-" : String(blobs), figure(bytes), figure(freeBytes), progress];
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

/** @throws CommandError (exit code 2) when it is not site/node. */
function parseNode(name: string): { site: string } {
  const [site = "", node = "", ...more] = name.split("/");
  if (site === "" || node === "" || more.length > 0 || name !== encodeURI(name))
    throw usageError(`"${name}" is not a node: site/node is wanted, e.g. eu/blob-node-2`);
  return { site };
}

async function siteNames(client: RegistryClient): Promise<string[]> {
  const answer = await client.call("/v2/_meridian/status");
  if (answer.status !== 200) throw failure(`${client.server}: ${describeError(answer)}`);
  return (JSON.parse(answer.text) as { sites: Array<{ name: string }> }).sites.map(({ name }) => name);
}

async function siteNodes(client: RegistryClient, site: string): Promise<SiteNodes> {
  const answer = await client.call(`/v2/_meridian/nodes/${site}`);
  if (answer.status !== 200) throw failure(`${client.server}: ${describeError(answer)}`);
  return JSON.parse(answer.text) as SiteNodes;
}

async function change(client: RegistryClient, name: string, state: "active" | "draining"): Promise<void> {
  const answer = await client.call(`/v2/_meridian/nodes/${name}`, { method: "PUT", json: { state } });
  if (answer.status !== 200) throw failure(`${client.server}: ${describeError(answer)}`);
}

function isDevCluster(client: RegistryClient, options: ServerOptions): boolean {
  try {
    return runningCluster(options).sites.some(({ gateway }) => gateway === client.server);
  } catch {
    return false;
  }
}

async function addToDevCluster(node: string, options: ServerOptions): Promise<void> {
  const command: DevCommand = { command: "node-add", node };
  try {
    await sendCommand(runningCluster(options).socket, command);
  } catch (error) {
    throw failure(error instanceof Error ? error.message : String(error), { cause: error });
  }
}
