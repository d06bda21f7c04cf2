import { statSync } from "node:fs";
import type { LiveTopology } from "@meridian/cluster";
import { type Logger, loadConfigFile, type Timers } from "@meridian/runtime";
import { siteConfigSchema } from "./site-config.ts";

/** What {@link watchTopology} needs. */
export interface WatchTopologyOptions {
  /** The configuration's file. */
  readonly path: string;
  readonly live: LiveTopology;
  readonly timers: Timers;
  readonly log: Logger;
}

const LOOK_EVERY_MS = 1_000;

/**
 * Takes over `topology.processes` whenever the configuration's file changes: nodes come and go without a restart. A
 * file that is wrong, or that differs in what needs a restart, is logged and changes nothing.
 */
export function watchTopology({ path, live, timers, log }: WatchTopologyOptions): Disposable {
  let seen: string | undefined;
  let looking = false;
  const look = async (): Promise<void> => {
    // At once: through the pool of threads it would wake an idle process once more each second.
    const { mtimeMs, size, ino } = statSync(path);
    const now = `${mtimeMs} ${size} ${ino}`;
    const first = seen === undefined;
    if (now === seen) return;
    seen = now;
    // What was read at the start is not older than the first look, but for a change in between: it is read once more.
    const { topology } = await loadConfigFile(siteConfigSchema, path);
    const change = live.update(topology);
    const changed = change.added.length + change.removed.length + change.changed.length > 0;
    if (changed || !first) log.info("took over the topology", { path, ...change });
  };
  return timers.every(LOOK_EVERY_MS, () => {
    if (looking) return;
    looking = true;
    look()
      .catch((error: unknown) => log.error("the changed configuration is not taken over", { path, error }))
      .finally(() => {
        looking = false;
      });
  });
}
