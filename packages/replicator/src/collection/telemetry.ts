import { collectionV1 } from "@meridian/wire";
import { metrics } from "@opentelemetry/api";
import type { Collected, Pass } from "./pass.ts";

/** What a collection counts. Labels are kinds: never a digest or a repository. */
export interface CollectionTelemetry extends Disposable {
  collected(kind: Collected, things: readonly { readonly size: number }[]): void;
  /** A pass ended. */
  passed(pass: Pass): void;
}

/** Registers the metrics until disposed. `state` is read whenever they are collected. */
export function createCollectionTelemetry(state: () => collectionV1.CollectionState): CollectionTelemetry {
  const meter = metrics.getMeter("@meridian/replicator");
  const collected = meter.createCounter("meridian.collection.removed", {
    description: "Things that nothing needed, removed",
  });
  const bytes = meter.createCounter("meridian.collection.freed", {
    unit: "By",
    description: "Bytes of removed copies",
  });
  const passes = meter.createCounter("meridian.collection.passes", { description: "Passes of the collection" });
  const seconds = meter.createHistogram("meridian.collection.pass", { unit: "s", description: "How long passes took" });
  const states = meter.createObservableGauge("meridian.collection.state", {
    description: "1 for the state that the collection is in",
  });
  const { WAITING, PAUSED, RUNNING, IDLE } = collectionV1.CollectionState;
  const named = { waiting: WAITING, paused: PAUSED, running: RUNNING, idle: IDLE };
  const observe: Parameters<typeof states.addCallback>[0] = (result) => {
    const now = state();
    for (const [name, value] of Object.entries(named)) result.observe(now === value ? 1 : 0, { state: name });
  };
  states.addCallback(observe);
  return {
    collected(kind, things) {
      collected.add(things.length, { kind });
      if (kind === "blobs") bytes.add(things.reduce((sum, { size }) => sum + size, 0));
    },
    passed({ failure, startedAt, finishedAt, dryRun }) {
      if (dryRun) return;
      passes.add(1, { outcome: failure === "" ? "ok" : "failed" });
      seconds.record((finishedAt - startedAt) / 1_000);
    },
    [Symbol.dispose]: () => states.removeCallback(observe),
  };
}
