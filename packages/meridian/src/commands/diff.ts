import { setTimeout as sleep } from "node:timers/promises";
import { describeError, openRegistry, type RegistryClient } from "../client/registry-client.ts";
import { failure, usageError } from "../exit-status.ts";
import type { ServerOptions } from "../program/command.ts";
import { parseDuration } from "./duration.ts";

/** Options of `meridian diff`. */
export interface DiffOptions extends ServerOptions {
  readonly repair?: boolean;
  readonly timeout: string;
}

interface Difference {
  readonly kind: string;
  readonly name: string;
  readonly left: string;
  readonly right: string;
  readonly state: "found" | "repaired" | "left" | "unknown";
  readonly detail: string;
}

/** How a comparison stands, as a gateway tells it. */
interface Comparison {
  readonly site: string;
  readonly other: string;
  readonly repair: boolean;
  readonly phase: string;
  readonly startedAt: string | null;
  readonly finishedAt: string | null;
  readonly registers: number;
  readonly blobs: number;
  readonly messages: number;
  readonly found: number;
  readonly repaired: number;
  readonly underWay: number;
  readonly differences: readonly Difference[];
  readonly failure: string;
}

type Pair = readonly [site: string, other: string];

const STEP_MS = 250;

export async function runDiff(
  site: string | undefined,
  other: string | undefined,
  options: DiffOptions,
): Promise<void> {
  if (site !== undefined && other === undefined) throw usageError("diff: two sites are wanted, or none for every pair");
  const client = openRegistry(options);
  const pairs: Pair[] = site === undefined || other === undefined ? pairsOf(await sitesOf(client)) : [[site, other]];
  const comparisons: Comparison[] = [];
  // One after another: a site compares itself with one other at a time.
  for (const pair of pairs) comparisons.push(await compare(pair, client, options));
  print(comparisons, options);
  const failed = comparisons.filter((one) => one.failure !== "");
  if (failed.length > 0) throw failure(failed.map((one) => `${one.site} and ${one.other}: ${one.failure}`).join("\n"));
  const left = comparisons.reduce((sum, { found, repaired }) => sum + found - repaired, 0);
  if (left > 0) throw failure(`${left} ${left === 1 ? "difference" : "differences"}${options.repair ? " left" : ""}`);
}

function pairsOf(sites: readonly string[]): Pair[] {
  return sites.flatMap((site, index) => sites.slice(index + 1).map((other): Pair => [site, other]));
}

async function sitesOf(client: RegistryClient): Promise<string[]> {
  const answer = await client.call("/v2/_meridian/status");
  if (answer.status !== 200) throw failure(`${client.server}: ${describeError(answer)}`);
  return (JSON.parse(answer.text) as { sites: { name: string }[] }).sites.map(({ name }) => name);
}

async function compare([site, other]: Pair, client: RegistryClient, options: DiffOptions): Promise<Comparison> {
  const path = `/v2/_meridian/diff?${new URLSearchParams({ site, with: other })}`;
  const deadline = performance.now() + parseDuration(options.timeout);
  const body = { repair: options.repair ?? false };
  let said = "";
  const progress = (line: string): void => {
    if (performance.now() > deadline) throw failure(`not done within ${options.timeout}: ${line}`);
    if (!options.json && line !== said) process.stderr.write(`${line}\n`);
    said = line;
  };
  for (;;) {
    const answer = await client.call(path, { method: "POST", json: body, timeoutMs: 30_000 });
    if (answer.status === 200) break;
    // It compares itself with another site now, or others asked for this already.
    if (answer.status !== 409) throw failure(`${client.server}: ${describeError(answer)}`);
    progress(`waiting: ${describeError(answer)}`);
    await sleep(STEP_MS);
  }
  for (;;) {
    const answer = await client.call(path, { timeoutMs: 30_000 });
    if (answer.status !== 200) throw failure(`${client.server}: ${describeError(answer)}`);
    const { comparison } = JSON.parse(answer.text) as { comparison: Comparison | null };
    if (comparison === null) throw failure(`${site} was started anew while it compared itself with ${other}`);
    if (comparison.finishedAt !== null) return comparison;
    progress(
      `${site} and ${other}: ${comparison.phase}: ${comparison.registers} registers and ${comparison.blobs} blobs seen, ${comparison.found} differences`,
    );
    await sleep(STEP_MS);
  }
}

function print(comparisons: readonly Comparison[], { json }: DiffOptions): void {
  if (json) {
    process.stdout.write(`${JSON.stringify({ comparisons })}\n`);
    return;
  }
  for (const one of comparisons) {
    for (const { kind, name, left, right, state, detail } of one.differences) {
      const outcome = state === "repaired" ? "; repaired" : state === "left" ? `; not repaired: ${detail}` : "";
      process.stdout.write(`${kind} ${name}: ${left}; ${right}${outcome}\n`);
    }
    const more = one.found - one.differences.length;
    if (more > 0) process.stdout.write(`… and ${more} more\n`);
    process.stdout.write(`${summaryOf(one)}\n`);
  }
}

function summaryOf({
  site,
  other,
  registers,
  blobs,
  messages,
  found,
  repaired,
  underWay,
  failure: why,
}: Comparison): string {
  const seen = `${registers} registers, ${blobs} blobs, ${messages} messages`;
  const moving = underWay > 0 ? `, ${underWay} under way` : "";
  if (why !== "") return `${site} and ${other}: not compared to the end (${seen}${moving})`;
  if (found === 0) return `${site} and ${other} hold the same (${seen}${moving})`;
  return `${site} and ${other}: ${found} differences, ${repaired} repaired (${seen}${moving})`;
}
