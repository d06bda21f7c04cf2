import { type Meter, metrics, type ObservableGauge } from "@opentelemetry/api";
import type { CopyProgress } from "./copy-settler.ts";
import type { LinkState } from "./replication-progress.ts";

/** What a replicator counts. Labels are sites: never a digest or a repository. */
export interface ReplicatorTelemetry extends Disposable {
  /** A blob landed; `bytes` is what crossed, 0 when it was here already. */
  fetched(from: string, bytes: number): void;
  failed(from: string): void;
  /** Every holder had wrong bytes of a blob. */
  poisoned(): void;
  /** An image has become whole at this site. */
  imageComplete(): void;
}

/** What the gauges show; read whenever metrics are collected. */
export interface ReplicatorGauges {
  /** Blobs by state. */
  blobs(): Readonly<Record<string, number>>;
  /** Entries of each origin's log that are known and not copied yet. */
  lag(): Readonly<Record<string, number>>;
  /** Copies inside this site. */
  copies(): CopyProgress;
  /** Every link into this site. */
  links(): readonly LinkState[];
}

/** Registers the replicator's metrics until disposed. */
export function createReplicatorTelemetry(gauges: ReplicatorGauges): ReplicatorTelemetry {
  const meter = metrics.getMeter("@meridian/replicator");
  const fetches = meter.createCounter("meridian.replicator.fetches", { description: "Blobs fetched from other sites" });
  const bytes = meter.createCounter("meridian.replicator.fetched", { unit: "By", description: "Bytes fetched" });
  const poisoned = meter.createCounter("meridian.replicator.poisoned", {
    description: "Blobs of which every holder had wrong bytes",
  });
  const blobs = meter.createObservableGauge("meridian.replicator.blobs", { description: "Blobs wanted, by state" });
  const lag = meter.createObservableGauge("meridian.replicator.lag", { description: "Log entries not copied yet" });
  const unsettled = meter.createObservableGauge("meridian.replicator.copies_waiting", {
    description: "Blobs with a copy missing, or one too many, inside this site",
  });
  const copied = meter.createObservableCounter("meridian.replicator.copies_made", {
    description: "Copies made inside this site",
  });
  const copiedBytes = meter.createObservableCounter("meridian.replicator.copied", {
    unit: "By",
    description: "Bytes copied inside this site",
  });
  const removed = meter.createObservableCounter("meridian.replicator.copies_removed", {
    description: "Copies removed that other nodes have",
  });
  const images = meter.createCounter("meridian.replicator.images_complete", {
    description: "Images of which the last missing blob came to this site",
  });
  const links = linkGauges(meter);
  const observe: Parameters<typeof meter.addBatchObservableCallback>[0] = (result) => {
    for (const [state, count] of Object.entries(gauges.blobs())) result.observe(blobs, count, { state });
    const copies = gauges.copies();
    result.observe(unsettled, copies.waiting);
    result.observe(copied, copies.copied);
    result.observe(copiedBytes, copies.copiedBytes);
    result.observe(removed, copies.removed);
    for (const [origin, entries] of Object.entries(gauges.lag())) result.observe(lag, entries, { origin });
    for (const state of gauges.links())
      for (const { gauge, of } of links) result.observe(gauge, of(state), { from: state.from });
  };
  const observed = [blobs, lag, unsettled, copied, copiedBytes, removed, ...links.map(({ gauge }) => gauge)];
  meter.addBatchObservableCallback(observe, observed);
  return {
    fetched(from, count) {
      fetches.add(1, { from, outcome: "ok" });
      bytes.add(count, { from });
    },
    poisoned: () => poisoned.add(1),
    imageComplete: () => images.add(1),
    failed: (from) => fetches.add(1, { from, outcome: "failed" }),
    [Symbol.dispose]: () => meter.removeBatchObservableCallback(observe, observed),
  };
}

interface LinkGauge {
  readonly gauge: ObservableGauge;
  readonly of: (state: LinkState) => number;
}

function linkGauges(meter: Meter): LinkGauge[] {
  const made = (name: string, description: string, of: LinkGauge["of"], unit?: string): LinkGauge => ({
    gauge: meter.createObservableGauge(`meridian.replicator.link_${name}`, { description, ...(unit && { unit }) }),
    of,
  });
  return [
    made("blobs", "Blobs that wait for a link", ({ blobs }) => blobs),
    made("bytes", "Bytes that wait for a link", ({ bytes }) => bytes),
    made("rate", "Bytes a second that came over a link", ({ bytesPerSecond }) => bytesPerSecond),
    made("oldest", "How long the blob that waits longest has been wanted", ({ oldestMs }) => oldestMs / 1_000, "s"),
    made("lag", "How long records have been known and not copied", ({ recordLagMs }) => recordLagMs / 1_000, "s"),
  ];
}
