import { parseImage } from "../client/image-reference.ts";
import { describeError, openRegistry } from "../client/registry-client.ts";
import { failure, usageError } from "../exit-status.ts";
import type { ServerOptions } from "../program/command.ts";
import { parseDuration } from "./duration.ts";
import { formatTable } from "./table.ts";

/** One site's part of a receipt. */
interface SiteReceipt {
  readonly name: string;
  readonly state: "absent" | "metadata" | "blobs" | "complete" | "unreachable";
  readonly blobsPresent: number;
  readonly blobsTotal: number;
  readonly bytes: number;
  readonly etaMs: number | null;
}

/** How long one request waits at the gateway before the progress is shown and it is asked again. */
const STEP_MS = 2_000;

export async function runReplication(
  image: string,
  options: ServerOptions & { wait?: string; timeout: string },
): Promise<void> {
  const { registry, repository, reference } = parseImage(image);
  const client = openRegistry(registry === undefined ? options : { ...options, server: options.server ?? registry });
  const timeoutMs = parseDuration(options.timeout);
  const wait = options.wait?.split(",").map((site) => site.trim());
  if (wait?.some((site) => site === ""))
    throw usageError(`--wait ${options.wait}: site names separated by commas are wanted`);
  const deadline = performance.now() + timeoutMs;
  const path = `/v2/${repository}/_meridian/replication/${reference}`;
  for (;;) {
    const left = Math.max(0, deadline - performance.now());
    const step = Math.min(left, STEP_MS);
    const query =
      wait === undefined ? "" : `?wait=${wait.map(encodeURIComponent).join(",")}&timeout=${Math.round(step)}ms`;
    const answer = await client.call(path + query, { timeoutMs: step + 15_000 });
    if (answer.status !== 200 && answer.status !== 504) throw failure(`${client.server}: ${describeError(answer)}`);
    const { sites } = JSON.parse(answer.text) as { sites: SiteReceipt[] };
    const done = wait === undefined || answer.status === 200;
    if (done || left <= step) {
      process.stdout.write(
        options.json ? `${JSON.stringify({ image: `${repository}:${reference}`, sites })}\n` : showReceipts(sites),
      );
      if (!done) throw failure(`not complete within ${options.timeout} at ${missing(sites, wait ?? [])}`);
      return;
    }
    if (!options.json) process.stderr.write(`waiting for ${missing(sites, wait ?? [])}\n`);
  }
}

function missing(sites: readonly SiteReceipt[], wanted: readonly string[]): string {
  return sites
    .filter((site) => wanted.includes(site.name) && site.state !== "complete")
    .map((site) => `${site.name} (${describeState(site)})`)
    .join(", ");
}

function showReceipts(sites: readonly SiteReceipt[]): string {
  return formatTable(
    ["SITE", "STATE", "BLOBS", "BYTES", "ETA"],
    sites.map((site) => [
      site.name,
      site.state,
      `${site.blobsPresent}/${site.blobsTotal}`,
      String(site.bytes),
      site.state === "complete" ? "-" : typeof site.etaMs === "number" ? `${Math.ceil(site.etaMs / 1000)}s` : "?",
    ]),
  );
}

function describeState(site: SiteReceipt): string {
  return site.state === "blobs" ? `blobs ${site.blobsPresent} of ${site.blobsTotal}` : site.state;
}
