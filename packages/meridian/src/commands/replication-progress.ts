import { describeError, openRegistry } from "../client/registry-client.ts";
import { failure, usageError } from "../exit-status.ts";
import type { ServerOptions } from "../program/command.ts";
import { formatTable } from "./table.ts";

interface Link {
  readonly from: string;
  readonly blobs: number;
  readonly bytes: number;
  readonly fetching: number;
  readonly bytesPerSecond: number;
  readonly etaMs: number | null;
  readonly oldestMs: number;
  readonly open: boolean;
  readonly records: number;
  readonly recordLagMs: number;
}

interface SiteProgress {
  readonly name: string;
  readonly state: "unreachable" | "starting" | "fetching" | "complete";
  readonly links?: readonly Link[];
  readonly homeless?: number;
  readonly poisoned?: readonly string[];
}

/** `meridian replication [repository] [--site us]`. */
export async function runReplicationProgress(
  repository: string | undefined,
  options: ServerOptions & { site?: string; wait?: string },
): Promise<void> {
  if (options.wait !== undefined) throw usageError("--wait needs an image: name:tag or name@digest");
  const client = openRegistry(options);
  const path = repository === undefined ? "/v2/_meridian/replication" : `/v2/${repository}/_meridian/replication`;
  const answer = await client.call(path);
  if (answer.status !== 200) throw failure(`${client.server}: ${describeError(answer)}`);
  const { sites } = JSON.parse(answer.text) as { sites: SiteProgress[] };
  const shown = options.site === undefined ? sites : sites.filter(({ name }) => name === options.site);
  if (shown.length === 0)
    throw failure(`there is no site ${options.site}: ${sites.map(({ name }) => name).join(", ")}`);
  process.stdout.write(options.json ? `${JSON.stringify({ sites: shown })}\n` : showProgress(shown));
}

function showProgress(sites: readonly SiteProgress[]): string {
  const header = ["SITE", "STATE", "FROM", "BLOBS", "BYTES", "RATE", "ETA", "OLDEST", "RECORDS BEHIND"];
  const rows = sites.flatMap((site) => {
    const { name, state, links = [], homeless = 0, poisoned = [] } = site;
    const lines = links.map((link, index) =>
      index === 0 ? [name, state, ...linkCells(link)] : ["", "", ...linkCells(link)],
    );
    const notes = [
      ...(homeless > 0 ? [["", "", "-", `${homeless} that nobody holds`]] : []),
      ...poisoned.map((digest) => ["", "", "-", `wrong bytes everywhere: ${digest}`]),
    ];
    return lines.length === 0 ? [[name, state], ...notes] : [...lines, ...notes];
  });
  return formatTable(
    header,
    rows.map((row) => [...row, ...Array<string>(header.length - row.length).fill("")]),
  );
}

function linkCells({
  from,
  blobs,
  bytes,
  bytesPerSecond,
  etaMs,
  oldestMs,
  open,
  records,
  recordLagMs,
}: Link): string[] {
  return [
    open ? from : `${from} (closed now)`,
    String(blobs),
    String(bytes),
    `${formatRate(bytesPerSecond)}`,
    blobs === 0 ? "-" : etaMs === null ? "?" : `${Math.ceil(etaMs / 1_000)}s`,
    blobs === 0 ? "-" : `${Math.ceil(oldestMs / 1_000)}s`,
    records === 0 ? "-" : `${records}, ${Math.ceil(recordLagMs / 1_000)}s`,
  ];
}

function formatRate(bytesPerSecond: number): string {
  if (bytesPerSecond === 0) return "-";
  return bytesPerSecond < 1e6
    ? `${(bytesPerSecond / 1e3).toFixed(1)} kB/s`
    : `${(bytesPerSecond / 1e6).toFixed(1)} MB/s`;
}
