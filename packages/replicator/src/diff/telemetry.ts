import { metrics } from "@opentelemetry/api";
import type { Comparison } from "./comparison.ts";

/** Counts what comparisons with other sites find. Labels are kinds and outcomes: never a digest or a repository. */
export interface ComparisonTelemetry {
  compared(comparison: Comparison): void;
}

export function createComparisonTelemetry(): ComparisonTelemetry {
  const meter = metrics.getMeter("@meridian/replicator");
  const runs = meter.createCounter("meridian.diff.comparisons", {
    description: "Comparisons of this site with another one, by outcome: same, different, failed",
  });
  const found = meter.createCounter("meridian.diff.differences", { description: "Differences found, by kind" });
  const repaired = meter.createCounter("meridian.diff.repaired", { description: "Differences repaired, by kind" });
  const seconds = meter.createHistogram("meridian.diff.comparison", {
    unit: "s",
    description: "How long comparisons took",
  });
  return {
    compared(comparison) {
      const { other, failure, startedAt, finishedAt } = comparison;
      const outcome = failure !== "" ? "failed" : comparison.foundCount > 0 ? "different" : "same";
      runs.add(1, { site: other, outcome });
      seconds.record((finishedAt - startedAt) / 1_000);
      for (const [kind, counts] of comparison.counts()) {
        found.add(counts.found, { site: other, kind });
        repaired.add(counts.repaired, { site: other, kind });
      }
    },
  };
}
