import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { describeError, openRegistry, type RegistryClient } from "../client/registry-client.ts";
import { CommandError, failure } from "../exit-status.ts";
import type { ServerOptions } from "../program/command.ts";
import { devCluster } from "./dev-sites.ts";
import { parseDuration } from "./duration.ts";
import { type MemberProcess, processesIn } from "./site-processes.ts";
import { formatTable } from "./table.ts";

interface ChangeOptions extends ServerOptions {
  readonly acceptLoss?: boolean;
  readonly opId?: string;
}

interface WaitOptions extends ChangeOptions {
  readonly wait?: boolean;
  readonly timeout: string;
}

/** A site as the gateway describes it. */
export interface ListedSite {
  readonly site: string;
  readonly membership: "active" | "draining" | "removed" | "expelled";
  readonly revision: string | null;
  /** How far the others had copied its log when it ceased to be a member. */
  readonly copied: { readonly incarnation: string; readonly sequence: number } | null;
  /** Null for a former member. */
  readonly state: string | null;
  readonly rttMs: number | null;
  readonly progress: {
    readonly blobs: number;
    readonly bytes: number;
    readonly bytesPerSecond: number;
    readonly etaMs: number | null;
    readonly records: number;
    readonly joined: boolean;
    readonly complete: boolean;
  } | null;
  readonly drain: {
    readonly blobs: number;
    readonly bytes: number;
    readonly records: number;
    readonly drained: boolean;
  } | null;
}

interface Changed {
  readonly site: string;
  readonly state: string;
  readonly revision: string;
  readonly lost?: { readonly blobs: number; readonly bytes: number; readonly records: number };
}

const POLL_MS = 1_000;
/** A change is waited for by the home and on the way to it; a removal asks the site twice before. */
const CHANGE_TIMEOUT_MS = 90_000;
/** A site that was just started has to reach the policy home first. */
const APPEAR_MS = 60_000;

export async function runSiteList(options: ServerOptions): Promise<void> {
  const client = openRegistry(options);
  const answer = await client.call("/v2/_meridian/sites", { timeoutMs: CHANGE_TIMEOUT_MS });
  if (answer.status !== 200) throw failure(`${client.server}: ${describeError(answer)}`);
  if (options.json) return void process.stdout.write(`${answer.text.trim()}\n`);
  const { sites, policyHome } = JSON.parse(answer.text) as { sites: ListedSite[]; policyHome: string | null };
  const rows = sites.map((one) => [
    one.site,
    one.membership + (one.site === policyHome ? ", policy home" : ""),
    one.state ?? "-",
    one.revision ?? "-",
    describe(one),
  ]);
  process.stdout.write(formatTable(["SITE", "MEMBERSHIP", "STATE", "SINCE", ""], rows));
}

export async function runSiteAdd(
  name: string,
  options: WaitOptions & { readonly config?: string; readonly wipe?: boolean },
): Promise<void> {
  const client = openRegistry(options);
  const dev = devCluster(client, options);
  const known = (await sitesOf(client)).find((one) => one.site === name);
  const hasLeft = known?.membership === "removed" || known?.membership === "expelled";
  if (dev !== undefined && hasLeft && options.wipe !== true)
    throw failure(
      `${name} was ${known.membership}: its data would be refused. --wipe throws it away (\`meridian site salvage ${name}\` first, if only it has something)`,
    );
  if (dev !== undefined && (known === undefined || hasLeft)) await dev.add(name, options.wipe === true);
  const processes = options.config === undefined ? dev?.processes(name) : processesIn(options.config, name);
  const change = {
    state: "active",
    ...(known === undefined || hasLeft ? { processes: requireProcesses(name, processes) } : {}),
  };
  const changed = await (dev === undefined ? put : putOnceUp)(client, name, change, options);
  await finish(
    client,
    name,
    changed,
    options,
    ({ progress, membership }) => membership === "active" && progress?.complete === true,
  );
}

export async function runSiteDrain(name: string, options: WaitOptions): Promise<void> {
  const client = openRegistry(options);
  const changed = await put(client, name, { state: "draining" }, options);
  await finish(client, name, changed, options, ({ drain }) => drain?.drained === true);
}

export async function runSiteRemove(
  name: string,
  options: ChangeOptions & { readonly force?: boolean },
): Promise<void> {
  const client = openRegistry(options);
  const changed = await put(client, name, { state: "removed", force: options.force === true }, options);
  await devCluster(client, options)?.forget(name);
  tell(changed, options, `${name} is no member any more (policy revision ${changed.revision})${describeLoss(changed)}`);
}

export async function runSiteExpel(name: string, options: ChangeOptions): Promise<void> {
  const client = openRegistry(options);
  const changed = await put(client, name, { state: "expelled" }, options);
  tell(
    changed,
    options,
    `${name} is expelled (policy revision ${changed.revision}): it is refused when it comes back, until it is wiped and added again`,
  );
}

function requireProcesses(name: string, processes: readonly MemberProcess[] | undefined): readonly MemberProcess[] {
  if (processes !== undefined && processes.length > 0) return processes;
  throw new CommandError(2, `where are the processes of ${name}? --config names a configuration file of the new site`);
}

/** Says how the site is; with --wait once `isDone` holds. */
async function finish(
  client: RegistryClient,
  name: string,
  changed: Changed,
  options: WaitOptions,
  isDone: (site: ListedSite) => boolean,
): Promise<void> {
  const deadline = performance.now() + parseDuration(options.timeout);
  let told = "";
  for (;;) {
    const site = await siteOf(client, name);
    if (options.wait !== true || (site !== undefined && isDone(site))) {
      const how = site === undefined ? "" : `: ${describe(site)}`;
      tell({ ...changed, ...site }, options, `${name} is ${changed.state} (policy revision ${changed.revision})${how}`);
      return;
    }
    if (performance.now() > deadline) {
      throw failure(
        `${name} is not done after ${options.timeout}: ${site === undefined ? "it cannot be asked" : describe(site)}. It goes on`,
      );
    }
    const line = `${name}: ${site === undefined ? "cannot be asked" : describe(site)}\n`;
    if (!options.json && line !== told) process.stderr.write(line);
    told = line;
    await pause(POLL_MS);
  }
}

function describe({ membership, progress, drain }: ListedSite): string {
  if (membership === "draining") {
    if (drain === null) return "does not say what only it holds";
    if (drain.drained) return "drained: nothing is only here";
    return `${drain.blobs} blobs (${megabytes(drain.bytes)}) and ${drain.records} records are only here`;
  }
  if (membership !== "active") return "";
  if (progress === null) return "does not answer";
  if (!progress.joined) return `joining: ${progress.records} records to copy`;
  if (progress.complete) return "has everything";
  const eta = progress.etaMs === null ? "" : `, ${Math.ceil(progress.etaMs / 1_000)} s`;
  return `serves; ${progress.blobs} blobs (${megabytes(progress.bytes)}) to fetch at ${megabytes(progress.bytesPerSecond)}/s${eta}`;
}

function describeLoss({ lost }: Changed): string {
  if (lost === undefined) return "";
  if (lost.blobs < 0) return "; what only it had could not be told";
  return `; lost with it: ${lost.blobs} blobs (${megabytes(lost.bytes)}) and ${lost.records} records`;
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}

function tell(result: object, options: ServerOptions, line: string): void {
  process.stdout.write(options.json ? `${JSON.stringify(result)}\n` : `${line}\n`);
}

async function sitesOf(client: RegistryClient): Promise<ListedSite[]> {
  const answer = await client.call("/v2/_meridian/sites", { timeoutMs: CHANGE_TIMEOUT_MS });
  if (answer.status !== 200) throw failure(`${client.server}: ${describeError(answer)}`);
  return (JSON.parse(answer.text) as { sites: ListedSite[] }).sites;
}

/** Undefined while nobody can say how it is. */
async function siteOf(client: RegistryClient, name: string): Promise<ListedSite | undefined> {
  const answer = await client.call(`/v2/_meridian/sites/${name}`, { timeoutMs: CHANGE_TIMEOUT_MS });
  return answer.status === 200 ? (JSON.parse(answer.text) as ListedSite) : undefined;
}

/** The site was just started: until it has reached the policy home it cannot be added. */
async function putOnceUp(...[client, name, change, options]: Parameters<typeof put>): Promise<Changed> {
  const deadline = performance.now() + APPEAR_MS;
  for (;;) {
    try {
      return await put(client, name, change, options);
    } catch (error) {
      const isEarly = error instanceof Error && error.message.includes("does not ask");
      if (!isEarly || performance.now() > deadline) throw error;
      await pause(POLL_MS);
    }
  }
}

/** Makes a change. A failure whose outcome is unknown says how to find out. */
async function put(client: RegistryClient, name: string, change: object, options: ChangeOptions): Promise<Changed> {
  const opId = options.opId ?? randomUUID();
  const json = { ...change, acceptLoss: options.acceptLoss === true, opId };
  const again = `the outcome is unknown: repeat it with --op-id ${opId}`;
  const path = `/v2/_meridian/sites/${name}`;
  const answer = await client
    .call(path, { method: "PUT", json, timeoutMs: CHANGE_TIMEOUT_MS })
    .catch((error: unknown) => {
      if (error instanceof CommandError && /answered|denied|DENIED/.test(error.message)) throw error;
      throw failure(`${error instanceof Error ? error.message : String(error)}; ${again}`, { cause: error });
    });
  if (answer.status === 200) return JSON.parse(answer.text) as Changed;
  const isUnknown = answer.status >= 500 && !answer.text.includes("nothing was changed");
  throw failure(`${client.server}: ${describeError(answer)}${isUnknown ? `; ${again}` : ""}`);
}
