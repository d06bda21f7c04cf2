import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type EventLogs, openEmbeddedLogs } from "@meridian/eventlog";
import { createMemoryStore, type OrderedStore } from "@meridian/keyvalue";
import { createSystemClock, systemRandom, systemTimers } from "@meridian/runtime";
import { type CatalogOptions, type OpenCatalog, openCatalog } from "./open-catalog.ts";
import { createRecordingLogger } from "./simulated-site.ts";

/** A site for tests: embedded logs on disk in a folder of their own, views and outboxes in memory. */
export interface TestSite extends AsyncDisposable {
  readonly logs: EventLogs;
  /** Opens a catalog; closed with the site unless it was closed before. Pass a former one's stores to reopen it. */
  open(options?: Partial<CatalogOptions>): Promise<OpenCatalog>;
}

export async function openTestSite(site = "eu"): Promise<TestSite> {
  const stack = new AsyncDisposableStack();
  const path = await mkdtemp(join(tmpdir(), "catalog-"));
  stack.defer(() => rm(path, { recursive: true, force: true }));
  const clock = createSystemClock();
  const logs = stack.use(await openEmbeddedLogs({ path, site, writer: `${site}/site`, clock, random: systemRandom }));
  return {
    logs,
    async open(options = {}) {
      const store = (): OrderedStore => createMemoryStore();
      const catalog = await openCatalog({
        site,
        writer: "site",
        serving: true,
        alone: true,
        logs,
        view: store(),
        outbox: store(),
        clock,
        timers: systemTimers,
        random: systemRandom,
        log: createRecordingLogger(),
        ...options,
      });
      stack.use(catalog);
      return catalog;
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** Resolves once the condition holds; fails after five seconds. */
export async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 5_000;
  while (!condition()) {
    if (performance.now() > deadline) {
      throw new Error(`not within five seconds: ${condition}`);
    }
    await systemTimers.sleep(2);
  }
}
