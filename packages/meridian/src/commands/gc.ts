import { setTimeout as sleep } from "node:timers/promises";
import { describeError, openRegistry, type RegistryClient } from "../client/registry-client.ts";
import { failure, usageError } from "../exit-status.ts";
import type { ServerOptions } from "../program/command.ts";
import { parseDuration } from "./duration.ts";
import { formatTable } from "./table.ts";

/** Options of `meridian gc`. */
export interface CollectionOptions extends ServerOptions {
  readonly site?: string;
  readonly dryRun?: boolean;
  readonly pause?: boolean;
  readonly resume?: boolean;
  readonly rate?: number;
  readonly wait?: boolean;
  readonly timeout: string;
}

interface Tally {
  readonly count: number;
  readonly bytes: number;
}

interface Taken {
  readonly links: Tally;
  readonly manifests: Tally;
  readonly blobs: Tally;
}

interface Pass extends Taken {
  readonly dryRun: boolean;
  readonly startedAt: string | null;
  readonly finishedAt: string | null;
  readonly phase: string;
  readonly failure: string;
  readonly inGrace: Taken;
  readonly blobsSeen: number;
  readonly repositories: ReadonlyArray<Taken & { readonly repository: string }>;
}

/** What one site's collection says, as a gateway tells it. */
interface SiteCollection {
  readonly site: string;
  readonly state: "idle" | "running" | "paused" | "waiting" | "standby" | "unknown" | "unreachable";
  readonly waitingFor: readonly string[];
  readonly rate: number | null;
  readonly nextAt: string | null;
  readonly pass: Pass | null;
}

const STEP_MS = 500;
const SHOWN_REPOSITORIES = 20;

export async function runCollection(verb: string | undefined, options: CollectionOptions): Promise<void> {
  const action = actionOf(verb, options);
  const client = openRegistry(options);
  const sites = options.site === undefined ? await sitesOf(client) : [options.site];
  const ask = (body?: object): Promise<SiteCollection[]> =>
    Promise.all(sites.map((site) => askSite(client, site, body)));
  const body = { ...(action !== undefined && { action }), ...(options.rate !== undefined && { rate: options.rate }) };
  const isQuestion = Object.keys(body).length === 0;
  let answers = await ask(isQuestion ? undefined : body);
  // A dry run is asked for because of its result.
  if (options.wait || action === "dry-run") answers = await untilDone(answers, ask, options);
  print(answers, options);
  const silent = answers.filter(({ state }) => state === "unreachable");
  if (silent.length > 0)
    throw failure(silent.map(({ site, waitingFor }) => `${site}: ${waitingFor.join("; ")}`).join("\n"));
  const failed = answers.filter(({ pass }) => pass !== null && pass.failure !== "");
  if (options.wait && failed.length > 0)
    throw failure(failed.map(({ site, pass }) => `${site}: ${pass?.failure}`).join("\n"));
}

function actionOf(verb: string | undefined, options: CollectionOptions): string | undefined {
  if (verb !== undefined && verb !== "status") throw usageError(`gc ${verb}: only "gc status" is known`);
  const asked = [
    ...(options.dryRun ? ["dry-run"] : []),
    ...(options.pause ? ["pause"] : []),
    ...(options.resume ? ["resume"] : []),
  ];
  if (asked.length > 1 || (verb === "status" && (asked.length > 0 || options.rate !== undefined)))
    throw usageError("only one of status, --dry-run, --pause and --resume can be asked for");
  if (verb === "status" || (asked.length === 0 && options.rate !== undefined)) return undefined;
  return asked[0] ?? "start";
}

async function askSite(client: RegistryClient, site: string, body: object | undefined): Promise<SiteCollection> {
  const path = `/v2/_meridian/collection?${new URLSearchParams({ site })}`;
  const answer = await client.call(path, {
    method: body === undefined ? "GET" : "POST",
    ...(body !== undefined && { json: body }),
    timeoutMs: 30_000,
  });
  if (answer.status === 200) return JSON.parse(answer.text) as SiteCollection;
  const message = describeError(answer);
  return { site, state: "unreachable", waitingFor: [message], rate: null, nextAt: null, pass: null };
}

async function sitesOf(client: RegistryClient): Promise<string[]> {
  const answer = await client.call("/v2/_meridian/status");
  if (answer.status !== 200) throw failure(`${client.server}: ${describeError(answer)}`);
  return (JSON.parse(answer.text) as { sites: { name: string }[] }).sites.map(({ name }) => name);
}

async function untilDone(
  first: SiteCollection[],
  ask: () => Promise<SiteCollection[]>,
  { json, timeout }: CollectionOptions,
): Promise<SiteCollection[]> {
  const deadline = performance.now() + parseDuration(timeout);
  let said = "";
  for (let answers = first; ; answers = await ask()) {
    const busy = answers.filter(({ state }) => state === "running" || state === "waiting");
    if (busy.length === 0) return answers;
    const progress = busy.map(progressOf).join("\n");
    if (!json && progress !== said) process.stderr.write(`${progress}\n`);
    said = progress;
    if (performance.now() > deadline) throw failure(`not done within ${timeout}:\n${progress}`);
    await sleep(STEP_MS);
  }
}

function progressOf({ site, state, waitingFor, pass }: SiteCollection): string {
  if (state === "waiting") return `${site} waits: ${waitingFor.join("; ")}`;
  return `${site} ${pass?.phase || "begins"}: ${pass?.blobsSeen ?? 0} blobs seen, ${pass?.blobs.count ?? 0} removed`;
}

function print(sites: readonly SiteCollection[], { json }: CollectionOptions): void {
  if (json) {
    process.stdout.write(`${JSON.stringify({ sites })}\n`);
    return;
  }
  const rows = sites.map((one) => [
    one.site,
    one.state,
    ...takenCells(one.pass),
    one.pass === null ? "-" : `${one.pass.inGrace.links.count}/${one.pass.inGrace.blobs.count}`,
    one.pass?.finishedAt ?? "-",
    one.waitingFor.join("; ") || one.pass?.failure || (one.nextAt ?? "-"),
  ]);
  const isDry = sites.some(({ pass }) => pass?.dryRun === true);
  const heading = [
    "SITE",
    "STATE",
    "LINKS",
    "MANIFESTS",
    "BLOBS",
    "BYTES",
    "IN GRACE",
    "FINISHED",
    "WAITS FOR, OR NEXT",
  ];
  if (isDry) process.stdout.write("A dry run: nothing was removed.\n");
  process.stdout.write(formatTable(heading, rows));
  printRepositories(sites);
}

function takenCells(taken: Taken | null): string[] {
  if (taken === null) return ["-", "-", "-", "-"];
  const { links, manifests, blobs } = taken;
  return [String(links.count), String(manifests.count), String(blobs.count), String(blobs.bytes)];
}

function printRepositories(sites: readonly SiteCollection[]): void {
  const rows = sites.flatMap(({ site, pass }) =>
    (pass?.repositories ?? [])
      .slice(0, SHOWN_REPOSITORIES)
      .map((one) => [site, one.repository || "(of no repository)", ...takenCells(one)]),
  );
  if (rows.length === 0) return;
  process.stdout.write(`\n${formatTable(["SITE", "REPOSITORY", "LINKS", "MANIFESTS", "BLOBS", "BYTES"], rows)}`);
}
