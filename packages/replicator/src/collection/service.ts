import type { Catalog } from "@meridian/catalog";
import type { NodeWatch, Peers, SiteMonitor } from "@meridian/cluster";
import type { EventLogs } from "@meridian/eventlog";
import type { OrderedStore } from "@meridian/keyvalue";
import { ContentError } from "@meridian/oci";
import type { RpcServer, ServiceImpl } from "@meridian/rpc";
import type { Clock, Logger, Timers } from "@meridian/runtime";
import { collectionV1 } from "@meridian/wire";
import { Collector } from "./collector.ts";
import type { CollectionConfig } from "./config.ts";
import { createConfirm } from "./confirm.ts";
import { Marks } from "./marks.ts";
import { CollectionSettingsFile } from "./settings-file.ts";
import { CollectionSettingsLog } from "./settings-log.ts";
import { createCollectionTelemetry } from "./telemetry.ts";

/** What {@link startCollection} needs. */
export interface CollectionOptions {
  readonly config: CollectionConfig;
  /** What is not needed, and since when; may be lost: then all of it stays a grace longer. Closed by its owner. */
  readonly marks: OrderedStore;
  /** Where a pause is kept over restarts; absent only in tests. */
  readonly settingsFile?: string;
  /** The site's logs, where several replicators share what an operator told them. Absent: the file alone. */
  readonly settingsLogs?: EventLogs;
  readonly peers: Peers;
  readonly monitor: SiteMonitor;
  readonly watch: NodeWatch;
  readonly catalog: Catalog;
  /** CollectionService is registered here. */
  readonly rpc: Pick<RpcServer, "register">;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
}

/** The collection of a site, until disposed. */
export interface Collection extends AsyncDisposable {
  /** Its state and reason, and what the last pass found. */
  status(): ReturnType<Collector["status"]>;
}

/** Begins to collect what nothing needs any more. @throws ContentError `unavailable` when the settings cannot be read. */
export async function startCollection(options: CollectionOptions): Promise<Collection> {
  const { marks, peers, rpc } = options;
  const { topology } = peers;
  await using open = new AsyncDisposableStack();
  const { settingsFile, settingsLogs } = options;
  const settings =
    settingsLogs === undefined
      ? await CollectionSettingsFile.open(settingsFile)
      : await CollectionSettingsLog.open(settingsLogs, settingsFile);
  const confirm = createConfirm({ ...options, topology });
  const telemetry = open.use(createCollectionTelemetry(() => collector.status().state));
  const collector: Collector = open.use(
    new Collector({ ...options, topology, settings, confirm, telemetry, marks: new Marks(marks) }),
  );
  rpc.register(collectionV1.CollectionService, serviceOf(collector), { allow: ({ site }) => site === topology.site });
  const running = open.move();
  return { status: () => collector.status(), [Symbol.asyncDispose]: () => running.disposeAsync() };
}

function serviceOf(collector: Collector): ServiceImpl<typeof collectionV1.CollectionService> {
  const { START, DRY_RUN, PAUSE, RESUME } = collectionV1.CollectionAction;
  return {
    status: async () => collector.status(),
    async control({ action, blobsPerSecond }) {
      if (blobsPerSecond > 0) await collector.setRate(blobsPerSecond);
      if (action === PAUSE) await collector.pause();
      else if (action === RESUME) await collector.resume();
      else if (action === DRY_RUN) collector.begin({ dryRun: true });
      else if (action === START) {
        if (collector.isPaused) throw new ContentError("precondition", "the collection is paused: resume it first");
        collector.begin({ dryRun: false });
      }
      return { status: collector.status() };
    },
  };
}
