import { MANY_STREAMS, type ManyStreams } from "./many-streams.ts";
import type { Measured } from "./registries.ts";
import type { Row, Target } from "./rounds.ts";

/** Lines of a Markdown table. */
export function table(heading: readonly string[], rows: ReadonlyArray<readonly string[]>): string {
  return [heading, heading.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

/** The figures of all peers, and Meridian's ratios beside what design.md §10 asks for. */
export function registryTables({ peers, rows, streams }: Measured): string[] {
  const figures = table(
    ["work", ...peers, "Meridian / peer (target)"],
    rows.map((row) => [row.work, ...peers.map((peer) => figureOf(row, peer)), ratiosOf(row)]),
  );
  const cpu = table(
    ["CPU time at the peer, µs", ...peers],
    rows.map((row) => [
      row.unit === "GB/s" ? `${row.work}, each MB` : row.work,
      ...peers.map((peer) => row.cpu.get(nameIn(row, peer))?.toFixed(0) ?? "–"),
    ]),
  );
  return [...(rows.length === 0 ? [] : [figures, cpu]), ...(streams.length === 0 ? [] : [memoryTable(streams)])];
}

function memoryTable(streams: readonly ManyStreams[]): string {
  const megabytes = (bytes: number): string => (bytes / 1e6).toFixed(0);
  return table(
    [MANY_STREAMS, "RSS, MB (Meridian ≤ 300)", "private, MB", "slowest stream / mean (≥ 0.25)"],
    streams.map((one) => [one.peer, megabytes(one.resident), megabytes(one.anonymous), one.slowestShare.toFixed(2)]),
  );
}

/** A peer without TLS stands in the rows of TLS as it is. */
function nameIn(row: Row, peer: string): string {
  return row.figures.has(peer) ? peer : `${peer}, plain`;
}

function figureOf(row: Row, peer: string): string {
  const name = nameIn(row, peer);
  const value = row.figures.get(name);
  if (value === undefined) return "–";
  const text = value >= 1000 ? `${(value / 1000).toFixed(1)} k` : value.toPrecision(3);
  return `${text}${row.unit === "/s" ? "/s" : ` ${row.unit}`}${name === peer ? "" : " (plain)"}`;
}

function ratiosOf({ ratios, targets }: Row): string {
  return [...ratios].map(([peer, ratio]) => `${peer} ${ratio.toFixed(2)}${wanted(targets, peer)}`).join(", ");
}

function wanted(targets: readonly Target[], peer: string): string {
  const target = targets.find((one) => one.peer === peer);
  if (target === undefined) return "";
  const bound = target.atLeast === undefined ? `≤ ${target.atMost}` : `≥ ${target.atLeast}`;
  return ` (${target.aim ? "aim " : ""}${bound})`;
}
