import { readFileSync } from "node:fs";
import { join } from "node:path";
import { sendRequest } from "../client/http-request.ts";
import { describeError, openRegistry } from "../client/registry-client.ts";
import type { ServerOptions } from "../command-line.ts";
import { CommandError, ExitCode, failure } from "../exit-status.ts";
import { homeFolder, runningCluster } from "../home-folder.ts";
import { formatTable } from "./table.ts";

/** What one gateway says of itself and of the others. */
interface GatewayStatus {
  readonly site: string;
  readonly ready: boolean;
  readonly failing: readonly string[];
  readonly policy: { readonly revision: string; readonly ageMs: number };
  readonly sites: ReadonlyArray<{ readonly site: string; readonly state: string; readonly rttMs?: number }>;
}

interface SiteLine {
  readonly site: string;
  readonly gateway: string;
  readonly state: string;
  readonly message?: string;
  readonly sees?: GatewayStatus["sites"];
  readonly policy?: GatewayStatus["policy"];
}

export async function runStatus(options: ServerOptions): Promise<void> {
  const lines = options.server === undefined ? await devStatus(options) : [await serverStatus(options)];
  const links = options.server === undefined ? runningCluster(options).links : [];
  if (options.json) process.stdout.write(`${JSON.stringify({ sites: lines, links })}\n`);
  else {
    const rows = lines.map((line) => [
      line.site,
      line.gateway,
      line.state,
      line.policy?.revision ?? "-",
      describeSees(line),
      line.message ?? "",
    ]);
    process.stdout.write(formatTable(["SITE", "GATEWAY", "STATE", "POLICY", "SEES", ""], rows));
    if (links.length > 0) {
      const linkRows = links.map((link) => [
        `${link.from} > ${link.to}`,
        link.state,
        `${link.rttMs} ms`,
        String(link.bytes),
      ]);
      process.stdout.write(`\n${formatTable(["LINK", "STATE", "RTT", "BYTES"], linkRows)}`);
    }
  }
  if (lines.some((line) => line.state !== "ready")) throw new CommandError(ExitCode.failed, "not every site is ready");
}

function describeSees(line: SiteLine): string {
  return (
    line.sees
      ?.map(
        (other) => `${other.site} ${other.state}${other.rttMs === undefined ? "" : ` ${other.rttMs.toFixed(1)} ms`}`,
      )
      .join(", ") ?? ""
  );
}

async function serverStatus(options: ServerOptions): Promise<SiteLine> {
  const client = openRegistry(options);
  const answer = await client.call("/_meridian/v1/status");
  if (answer.status !== 200) throw failure(`${client.server}: ${describeError(answer)}`);
  return siteLine(client.server, JSON.parse(answer.text) as GatewayStatus);
}

async function devStatus(options: ServerOptions): Promise<SiteLine[]> {
  const run = runningCluster(options);
  const ca = readFileSync(join(homeFolder(options), "ca.pem"), "utf8");
  return Promise.all(
    run.sites.map(async (site): Promise<SiteLine> => {
      if (site.state === "stopped") return { site: site.name, gateway: site.gateway, state: "stopped" };
      try {
        await sendRequest(new URL("/livez", site.gateway), { ca, timeoutMs: 3_000 });
        return await serverStatus({ ...options, server: site.gateway });
      } catch (error) {
        return {
          site: site.name,
          gateway: site.gateway,
          state: "unreachable",
          message: error instanceof Error ? error.message : String(error),
        };
      }
    }),
  );
}

function siteLine(gateway: string, status: GatewayStatus): SiteLine {
  return {
    site: status.site,
    gateway,
    state: status.ready ? "ready" : "not ready",
    sees: status.sites,
    policy: status.policy,
    ...(status.failing.length === 0 ? {} : { message: status.failing.join(", ") }),
  };
}
