import type { EventLog } from "@meridian/eventlog";
import { ContentError } from "@meridian/oci";
import type { Timers } from "@meridian/runtime";
import type { recordV1 } from "@meridian/wire";
import { type Intent, planCommit, recordsOf } from "./commit-plan.ts";
import type { Fold } from "./fold.ts";
import type { HlcClock } from "./hlc.ts";
import { findRecord } from "./lookups.ts";
import { latestTime } from "./merge.ts";
import type { LogLife } from "./own-log-life.ts";
import type { Pin } from "./pins.ts";
import { publishAtOnce } from "./publish-at-once.ts";
import { publishRecord } from "./publish-record.ts";
import type { View } from "./view.ts";

/** What {@link relink} writes with. */
export interface RelinkParts {
  readonly site: string;
  readonly view: View;
  readonly fold: Fold;
  readonly hlc: HlcClock;
  /** What may keep the site from taking writes. */
  readonly life?: Pick<LogLife, "restoring">;
  readonly timers: Timers;
}

interface Item {
  readonly viewKey: string;
  readonly intent: Intent;
  change: recordV1.Record;
}

/**
 * Publishes again the links of pinned digests, and resolves once the view has them. It holds no lock, passes no outbox
 * and waits for no position: positions wait for it.
 * @throws ContentError `unavailable` when the log goes away or the signal aborts.
 */
export async function relink(pins: readonly Pin[], parts: RelinkParts, signal: AbortSignal): Promise<void> {
  const { fold, hlc, view } = parts;
  const log = await fold.untilOwnLog(signal);
  const restoring = parts.life?.restoring;
  if (restoring !== undefined) {
    // What is stamped before the log has what it lost could come before what was deleted there.
    throw new ContentError("unavailable", restoring.message);
  }
  const plan = planCommit(
    view.store,
    pins.map((pin) => ({ kind: "link", ...pin })),
    undefined,
  );
  if (plan.size === 0) {
    return;
  }
  const seen = (viewKey: string): recordV1.Record | undefined => findRecord(view.store, viewKey)?.record;
  const latest = [...plan.keys()].reduce((time, key) => later(time, latestTime(seen(key))), 0n);
  await hlc.prepare(latest);
  const stamped = (viewKey: string, intent: Intent): recordV1.Record => {
    const before = seen(viewKey);
    return recordsOf(intent, { seen: before, stamp: (after) => hlc.next(after), after: latestTime(before) }).change;
  };
  const items: Item[] = [...plan].map(([viewKey, intent]) => ({ viewKey, intent, change: stamped(viewKey, intent) }));
  const conflicted = async (item: Item): Promise<void> => {
    await hlc.prepare(latestTime(seen(item.viewKey)));
    item.change = stamped(item.viewKey, item.intent);
  };
  await fold.untilRead(await publish(log, items, { ...parts, conflicted, signal }), signal);
}

/** Returns the last sequence. */
async function publish(
  log: EventLog,
  items: readonly Item[],
  options: RelinkParts & { conflicted: (item: Item) => Promise<void>; signal: AbortSignal },
): Promise<number> {
  const { conflicted } = options;
  const { appendAll } = log;
  if (appendAll !== undefined) {
    return await publishAtOnce({ ...options, log, appendAll, items, traceparent: undefined });
  }
  const sequences = items.map((item) =>
    publishRecord({
      ...options,
      log,
      change: () => item.change,
      conflicted: () => conflicted(item),
      traceparent: undefined,
    }),
  );
  return Math.max(...(await Promise.all(sequences)));
}

function later(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
