import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import { openCatalog } from "@meridian/catalog";
import { openEmbeddedLogs } from "@meridian/eventlog";
import { openLmdbStore } from "@meridian/keyvalue";
import { createLogger, createSystemClock, systemRandom, systemTimers } from "@meridian/runtime";

/** How fast a view is made from its log. */
export interface ColdFold {
  readonly records: number;
  readonly perSecond: number;
  /** Microseconds of CPU time a record. */
  readonly cpu: number;
  /** Milliseconds for which the event loop was late: 99 of 100 looks, and the worst. */
  readonly lateP99: number;
  readonly lateMax: number;
}

/** Folds the log of a stopped site eu into a new view, as its process does after its view was lost. */
export async function coldFold(folder: string): Promise<ColdFold> {
  const scratch = mkdtempSync(join(tmpdir(), "meridian-bench-"));
  try {
    const common = { site: "eu", clock: createSystemClock(), timers: systemTimers, random: systemRandom };
    const log = createLogger({ level: "warn" });
    await using logs = await openEmbeddedLogs({ ...common, log, path: join(folder, "log"), writer: "eu/fold" });
    await using outbox = await openLmdbStore({ path: join(scratch, "outbox") });
    await using view = await openLmdbStore({ path: join(scratch, "view"), volatile: true });
    const records = (await (await logs.open("META_eu")).head()).sequence;
    const late = monitorEventLoopDelay({ resolution: 1 });
    late.enable();
    const [started, used] = [performance.now(), process.cpuUsage()];
    const parts = { ...common, log, writer: "fold", serving: true, alone: true, logs, view, outbox };
    await using catalog = await openCatalog(parts);
    while (!catalog.ready) await sleep(20);
    const seconds = (performance.now() - started) / 1_000;
    const { user, system } = process.cpuUsage(used);
    late.disable();
    return {
      records,
      perSecond: records / seconds,
      cpu: (user + system) / records,
      lateP99: late.percentile(99) / 1e6,
      lateMax: late.max / 1e6,
    };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}
