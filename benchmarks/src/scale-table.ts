import type { ScaleRow } from "./scale.ts";
import { table } from "./table.ts";

/** The tables of {@link ScaleRow}, with the targets of design.md §10. */
export function scaleTables(row: ScaleRow): string[] {
  const { fold, lookups, lookupRatio, pageP99, startMs, catchUpPerSecond } = row;
  const thousands = (n: number): string => `${(n / 1_000).toFixed(1)} k`;
  return [
    table(
      ["scale", "measured", "target"],
      [
        ["tags, records", `${row.tags}, ${row.records}`, ""],
        ["cold fold, records/s (CPU µs each)", `${thousands(fold.perSecond)} (${fold.cpu.toFixed(0)})`, "≥ 50 k"],
        ["event loop late meanwhile, ms: p99, worst", `${fold.lateP99.toFixed(1)}, ${fold.lateMax.toFixed(1)}`, "≤ 20"],
        ["lookups by HEAD /s; rate at 1,000 tags / this", `${thousands(lookups)}; ${lookupRatio.toFixed(2)}`, "≤ 1.2"],
        ["page of 1,000 tags, p99 ms", pageP99.toFixed(1), "≤ 20"],
        ["start of three sites that have it all, s", (startMs / 1_000).toFixed(1), ""],
        ["catch-up of two sites at once from nothing, records/s each", thousands(catchUpPerSecond), ""],
      ],
    ),
    table(
      ["site", "RssAnon MB", "log, bytes a record", "view, bytes a record"],
      row.sites.map(({ site, rssAnon, logBytes, viewBytes }) =>
        [site, rssAnon, logBytes, viewBytes].map((cell) => (typeof cell === "string" ? cell : cell.toFixed(0))),
      ),
    ),
  ];
}
