import { hash } from "node:crypto";
import type { EventLog, EventLogs, LogEntry } from "@meridian/eventlog";
import type { Timers } from "@meridian/runtime";
import type { recordV1 } from "@meridian/wire";
import type { RowSource } from "./find-differences.ts";
import type { Fold } from "./fold.ts";
import { type RegisterName, registerNameOf, subjectOf } from "./keys.ts";
import { findRecord } from "./lookups.ts";
import { decodeRecord, encodeRecord, mergeRecords } from "./merge.ts";
import { publishRecord } from "./publish-record.ts";
import { HASH_BYTES } from "./range-summary.ts";
import { registersOf } from "./register-rows.ts";
import { isOldDeletion } from "./retirement.ts";
import { originOf, type StreamOrigin } from "./stream-origin.ts";
import type { View } from "./view.ts";
import { REGISTERS } from "./view-layout.ts";

/** One register as this process has it. */
export interface ComparedRegister {
  /** Undefined when the view has none. */
  readonly record: recordV1.Record | undefined;
  /** Whether the site's log and its copies hold all of it: not so while it came with an answer of another member, or is shown ahead. */
  readonly logged: boolean;
}

/** What proves that this view and another one hold the same registers, and what puts it right. Keys are those of the view. */
export interface Comparable {
  /** All registers, but for deletions that are older than `before`, a reading's time: sites drop those when they please. */
  rows(before: bigint): RowSource;
  /** @throws ContentError `unavailable` when a log cannot be read, `invalid` for what is no key. */
  read(keys: readonly string[]): Promise<ComparedRegister[]>;
  /**
   * Takes from the site's log and its copies whatever the view lacks of these registers. Resolves with how many changed.
   * @throws ContentError as `read` does.
   */
  refold(keys: readonly string[]): Promise<number>;
  /**
   * Publishes once more in the site's own log what the view has of these registers, so that it travels to every view as
   * all records do. What no log here holds is left alone: a deletion of it may have been dropped everywhere. Resolves
   * with how many were published.
   * @throws ContentError as `read` does.
   */
  publish(keys: readonly string[], signal: AbortSignal): Promise<number>;
}

/** The range of all registers. */
export const ALL_REGISTERS = { from: REGISTERS.start, to: REGISTERS.end } as const;

const ROWS_AT_ONCE = 500;

/** What {@link comparableOf} works with. */
export interface ComparableOptions {
  readonly site: string;
  readonly view: View;
  readonly fold: Fold;
  readonly logs: EventLogs;
  readonly timers: Timers;
}

interface Origin {
  readonly origin: StreamOrigin;
  readonly log: EventLog;
}

export function comparableOf(options: ComparableOptions): Comparable {
  const { view, fold, site, timers } = options;
  const { store } = view;
  return {
    rows: (before) => (range) => rowsOf(options, range, before),
    async read(keys) {
      const names = keys.map(registerNameOf);
      const origins = await originsOf(options);
      return await Promise.all(
        keys.map(async (key, index): Promise<ComparedRegister> => {
          const entries = await entriesOf(names[index]!, origins);
          const record = findRecord(store, key)?.record;
          return { record, logged: record !== undefined && holds(mergedOf(entries), record) };
        }),
      );
    },
    async refold(keys) {
      const names = keys.map(registerNameOf);
      const origins = await originsOf(options);
      let changed = 0;
      for (const [index, key] of keys.entries()) {
        const entries = await entriesOf(names[index]!, origins);
        const before = store.get(key);
        for (const { origin, entry } of entries) await foldAgain(view, origin, entry);
        if (Buffer.compare(before ?? EMPTY, store.get(key) ?? EMPTY) !== 0) changed += 1;
      }
      return changed;
    },
    async publish(keys, signal) {
      const log = await fold.untilOwnLog(signal);
      let published = 0;
      for (const [index, { record, logged }] of (await this.read(keys)).entries()) {
        if (record === undefined || !logged) continue;
        // A row that lost its place in the own log could not be written otherwise.
        await this.refold([keys[index]!]);
        const change = (): recordV1.Record => record;
        const conflicted = (): Promise<void> => Promise.resolve();
        await publishRecord({ log, site, view, fold, timers, change, conflicted, traceparent: undefined, signal });
        published += 1;
      }
      return published;
    },
  };
}

const EMPTY = new Uint8Array(0);

async function* rowsOf(
  { view, timers }: ComparableOptions,
  range: { readonly from: string; readonly to: string },
  before: bigint,
): ReturnType<RowSource> {
  for (let from = range.from; ; ) {
    let seen = 0;
    const batch: { key: string; hash: Uint8Array }[] = [];
    for (const { key, record, live } of registersOf(view.store, { from, to: range.to, limit: ROWS_AT_ONCE })) {
      seen += 1;
      from = `${key}\0`;
      if (live || !isOldDeletion(decodeRecord(record), before)) batch.push({ key, hash: hashOf(record) });
    }
    yield batch;
    if (seen < ROWS_AT_ONCE) return;
    await timers.sleep(0);
  }
}

/** A record names its register, so its hash stands for both. */
function hashOf(record: Uint8Array): Uint8Array {
  return hash("sha256", record, "buffer").subarray(0, HASH_BYTES);
}

/** The site's own log and its copies. */
async function originsOf({ site, logs }: ComparableOptions): Promise<Origin[]> {
  const origins = (await logs.streams()).flatMap((stream) => originOf(stream, site) ?? []);
  const open = origins.filter(({ stream }) => stream !== "");
  return await Promise.all(open.map(async (origin) => ({ origin, log: await logs.open(origin.stream) })));
}

async function entriesOf(
  name: RegisterName,
  origins: readonly Origin[],
): Promise<{ readonly origin: StreamOrigin; readonly entry: LogEntry }[]> {
  const found = await Promise.all(
    origins.map(async ({ origin, log }) => ({ origin, entry: await log.last(subjectOf(origin.site, name)) })),
  );
  return found.flatMap(({ origin, entry }) => (entry === undefined ? [] : [{ origin, entry }]));
}

function mergedOf(entries: readonly { readonly entry: LogEntry }[]): recordV1.Record | undefined {
  return entries
    .map(({ entry }) => decodeRecord(entry.payload))
    .reduce<recordV1.Record | undefined>((merged, record) => mergeRecords(merged, record), undefined);
}

function holds(known: recordV1.Record | undefined, record: recordV1.Record): boolean {
  if (known === undefined) return false;
  return Buffer.compare(encodeRecord(mergeRecords(known, record)), encodeRecord(known)) === 0;
}

async function foldAgain(view: View, origin: StreamOrigin, entry: LogEntry): Promise<void> {
  const { payload, sequence } = entry;
  const originSequence = entry.origin?.sequence ?? sequence;
  await view.fold(origin, [{ record: decodeRecord(payload), sequence, originSequence }]);
}

/** True when merging the one into the other changes nothing: what the second tells is in the first. */
export function includes(record: recordV1.Record | undefined, other: recordV1.Record | undefined): boolean {
  return other === undefined || holds(record, other);
}
