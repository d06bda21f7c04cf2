import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type DevCommand, sendCommand } from "@meridian/dev";
import type { DevProcess } from "./dev-process.ts";
import { until } from "./until.ts";

/** The sites of a cluster that was started without `--sites`. */
export const SITES = ["eu", "us", "ap"] as const;
export type SiteName = (typeof SITES)[number];

/** Asks the supervisor what `meridian site|process|link …` ask it, without the time that starting a program takes. */
export async function command(cluster: DevProcess, wanted: DevCommand): Promise<void> {
  const { socket } = JSON.parse(readFileSync(join(cluster.home, "run.json"), "utf8")) as { socket: string };
  await sendCommand(socket, wanted);
}

/** Resolves once the gateways of the sites answer 200 at /readyz. */
export async function ready(cluster: DevProcess, sites: readonly string[] = SITES, timeoutMs = 45_000): Promise<void> {
  await Promise.all(
    sites.map((site) =>
      until(`${site} is ready`, async () => (await cluster.at(site).call("/readyz")).status === 200, timeoutMs),
    ),
  );
}

/** Runs `meridian …` and resolves with what it printed. @throws Error with its words unless it ends with exit code 0. */
export async function meridian(cluster: DevProcess, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await cluster.meridian(...args);
  if (code !== 0) throw new Error(`meridian ${args.join(" ")}: exit code ${code}: ${stderr}`);
  return stdout;
}

/** Waits until every one of the sites holds all bytes of an image. */
export async function complete(
  cluster: DevProcess,
  at: string,
  repository: string,
  reference: string,
  sites: readonly string[] = SITES,
): Promise<void> {
  const path = `/v2/${repository}/_meridian/replication/${reference}?wait=${sites.join(",")}&timeout=20s`;
  await until(`${repository}:${reference} is complete at ${sites}`, async () => {
    const answer = await cluster.at(at).call(path);
    if (answer.status !== 200) throw new Error(`${answer.status} ${answer.body.toString()}`);
    return true;
  });
}
