import { describeError, openRegistry } from "../client/registry-client.ts";
import { CommandError, ExitCode, failure } from "../exit-status.ts";
import type { ServerOptions } from "../program/command.ts";
import { runningCluster } from "../running-cluster.ts";
import { formatTable } from "./table.ts";

/** What one gateway says of itself and of the others. */
interface GatewayStatus {
  readonly site: string;
  readonly policy: { readonly revision: string; readonly ageMs: number };
  readonly sites: ReadonlyArray<{
    readonly name: string;
    readonly state: string;
    /** Null until measured. */
    readonly rttMs: number | null;
    readonly failing: readonly string[];
  }>;
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
  const others = line.sees?.filter((other) => other.name !== line.site) ?? [];
  return others
    .map(({ name, state, rttMs }) => `${name} ${state}${rttMs === null ? "" : ` ${rttMs.toFixed(1)} ms`}`)
    .join(", ");
}

async function serverStatus(options: ServerOptions): Promise<SiteLine> {
  const client = openRegistry(options);
  const [answer, health] = await Promise.all([client.call("/v2/_meridian/status"), client.call("/readyz")]);
  if (answer.status !== 200) throw failure(`${client.server}: ${describeError(answer)}`);
  const status = JSON.parse(answer.text) as GatewayStatus;
  const failing = failingChecks(health.text);
  return {
    site: status.site,
    gateway: client.server,
    state: health.status === 200 ? "ready" : "not ready",
    sees: status.sites,
    policy: status.policy,
    ...(failing === "" ? {} : { message: failing }),
  };
}

/** Names and messages of the checks that fail, from the body of /readyz; empty when none does. */
function failingChecks(text: string): string {
  try {
    const { checks = [] } = JSON.parse(text) as { checks?: Array<{ name: string; ok: boolean; message?: string }> };
    return checks
      .filter((check) => !check.ok)
      .map((check) => `${check.name}: ${check.message ?? "fails"}`)
      .join(", ");
  } catch {
    return "";
  }
}

async function devStatus(options: ServerOptions): Promise<SiteLine[]> {
  return Promise.all(
    runningCluster(options).sites.map(async ({ name, gateway, state }): Promise<SiteLine> => {
      if (state === "stopped") return { site: name, gateway, state };
      try {
        return await serverStatus({ ...options, server: gateway });
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        return { site: name, gateway, state: "unreachable", message };
      }
    }),
  );
}
