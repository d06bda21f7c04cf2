import type { EventLogs } from "@meridian/eventlog";
import type { OrderedReader } from "@meridian/keyvalue";
import { ContentError } from "@meridian/oci";
import type { recordV1 } from "@meridian/wire";
import type { Scanned } from "./collectable.ts";
import { registerNameOf, SEPARATOR, subjectOf } from "./keys.ts";
import { findRecord } from "./lookups.ts";
import { decodeRecord, isAlive, latestTime } from "./merge.ts";
import type { LogLife } from "./own-log-life.ts";
import { originOf } from "./stream-origin.ts";
import type { View } from "./view.ts";
import { isLiveRow, REGISTERS, under } from "./view-layout.ts";

/**
 * How deletions end (consistency.md §6): one that is old is dropped once every member has said that nothing of its key
 * lives in its views, its log and its copies of others' logs. Keys are those of the view. `before` is a reading's time:
 * only what is older in all of its readings counts as old.
 */
export interface Retirement {
  /** Old deletions among the next `rows` registers; begins at the first when `from` is absent. */
  oldDeletions(options: { readonly from?: string; readonly rows: number; readonly before: bigint }): Scanned<string>;
  /**
   * For each key whether this view, the site's log and its copies hold at most old deletions of it.
   * @throws ContentError `unavailable` when a log cannot be read, `invalid` for what is no key.
   */
  areDead(keys: readonly string[], before: bigint): Promise<boolean[]>;
  /** Drops the keys from this view, where they are still old deletions. */
  forget(keys: readonly string[], before: bigint): Promise<void>;
  /** Drops them from the site's log and its copies, likewise. Resolves with how many entries went. */
  discard(keys: readonly string[], before: bigint): Promise<number>;
}

export function retirementOf({
  site,
  view,
  logs,
  life,
}: {
  readonly site: string;
  readonly view: View;
  readonly logs: EventLogs;
  readonly life: Pick<LogLife, "restoring">;
}): Retirement {
  const { store } = view;
  return {
    oldDeletions({ from, rows, before }) {
      const items: string[] = [];
      let seen = 0;
      let last = "";
      const start = from === undefined ? REGISTERS.start : `${from}\0`;
      for (const [key, row] of store.range({ start, end: REGISTERS.end, limit: rows })) {
        seen += 1;
        last = key;
        if (!isLiveRow(row) && isOldDeletion(findRecord(store, key)?.record, before) && !isStillTold(store, key))
          items.push(key);
      }
      return seen < rows ? { items } : { items, next: last };
    },
    async areDead(keys, before) {
      // What the log had may be on its way back.
      if (life.restoring !== undefined) throw new ContentError("unavailable", life.restoring.message);
      await requireNoOldCopies(logs);
      const origins = await originsOf(site, logs);
      const dead = keys.map((key) => isOldDeletion(findRecord(store, key)?.record, before));
      for (const { stream, site: origin } of origins) {
        const log = await logs.open(stream);
        await Promise.all(
          keys.map(async (key, index) => {
            if (!dead[index]) return;
            const entry = await log.last(subjectOf(origin, registerNameOf(key)));
            if (entry !== undefined && !isOldDeletion(decodeRecord(entry.payload), before)) dead[index] = false;
          }),
        );
      }
      return dead;
    },
    async forget(keys, before) {
      await view.dropRegisters(keys, (record) => isOldDeletion(record, before));
    },
    async discard(keys, before) {
      let removed = 0;
      for (const { stream, site: origin } of await originsOf(site, logs)) {
        const log = await logs.open(stream);
        const found = await Promise.all(keys.map((key) => log.last(subjectOf(origin, registerNameOf(key)))));
        const old = found.filter((entry) => entry !== undefined && isOldDeletion(decodeRecord(entry.payload), before));
        if (old.length > 0) removed += await log.discard(old as { subject: string; sequence: number }[]);
      }
      return removed;
    },
  };
}

/** A copy that was put aside (link's old-copy.ts) may hold what was deleted since, and its records are published yet. */
async function requireNoOldCopies(logs: EventLogs): Promise<void> {
  const old = (await logs.streams()).find((stream) => stream.startsWith("OLD_"));
  if (old !== undefined) throw new ContentError("unavailable", `what ${old} holds has not been published yet`);
}

/** The site's own log and its copies. */
async function originsOf(site: string, logs: EventLogs): Promise<{ stream: string; site: string }[]> {
  return (await logs.streams()).flatMap((stream) => originOf(stream, site) ?? []).filter(({ stream }) => stream !== "");
}

/** True when nothing of it lives, and nothing of it is new: also of a key that is not there. */
export function isOldDeletion(record: recordV1.Record | undefined, before: bigint): boolean {
  return record === undefined || (!isAlive(record) && latestTime(record) < before);
}

/** What is attached to a deleted manifest goes because its deletion is known. */
function isStillTold(store: OrderedReader, key: string): boolean {
  const [kind, repository = "", digest = ""] = key.split(SEPARATOR);
  if (kind !== "rm") return false;
  const attached = `t ${repository} ${digest.replace(":", "-")}`;
  const rows = [
    ...store.range({ ...under(`s ${repository} ${digest} `), limit: 1 }),
    ...store.range({ start: attached, end: `${attached}~`, limit: 1 }),
  ];
  return rows.length > 0;
}
