import {
  ALL_REGISTERS,
  type Catalog,
  type ComparedRegister,
  decodeRecord,
  encodeRecord,
  findDifferences,
  includes,
  type RowSource,
} from "@meridian/catalog";
import { ContentError } from "@meridian/oci";
import type { ServiceClient } from "@meridian/rpc";
import type { Timers } from "@meridian/runtime";
import type { diffV1 } from "@meridian/wire";
import type { Comparison, FoundDifference } from "./comparison.ts";
import { describeKey, describeRegister } from "./describe-register.ts";
import { catchUp, stoppable } from "./view-diff-service.ts";
import { batches, fromWireSummary } from "./wire-summary.ts";

/** What {@link compareViews} works with. */
export interface CompareViewsOptions {
  readonly catalog: Catalog;
  /** The other process. */
  readonly client: ServiceClient<typeof diffV1.ViewDiffService>;
  /** How this process and the other one are called. */
  readonly names: { readonly own: string; readonly other: string };
  /** Deletions older than this, a reading's time, count for nothing. */
  readonly before: bigint;
  readonly comparison: Comparison;
  readonly timers: Timers;
  readonly signal: AbortSignal;
}

interface Pair {
  readonly own: ComparedRegister;
  readonly other: ComparedRegister;
}

/** A whole catalog may be read for one answer. */
const SUMMARIZE_TIMEOUT_MS = 600_000;
const READ_TIMEOUT_MS = 60_000;
/** Beyond so many keys no others are looked for: they are named, or repaired, and the rest is found the next time. */
const MAX_FOUND = 20_000;
const ROUNDS = 6;
const ROUND_PAUSE_MS = 300;

/**
 * Compares the registers of this process's view with another's. Both first fold what the other shows. A register that
 * differs is looked at again until it is the same, or stays as it is on both sides although each has folded what the
 * other showed: what still moves is under way. What no log of either site holds is not told either: it came with an
 * answer of another member, or ahead of the log, and the log brings it.
 * @throws ContentError `unavailable` when the other cannot be asked, or one of the two does not catch up.
 */
export async function compareViews(options: CompareViewsOptions): Promise<void> {
  const { comparison, names } = options;
  comparison.phase = `registers with ${names.other}`;
  const differing = await confirmed(await candidates(options), options);
  const told = new Map<string, FoundDifference>();
  for (const [key, { own, other }] of differing) {
    const left = `${names.own} has ${describeRegister(own.record)}`;
    const right = `${names.other} has ${describeRegister(other.record)}`;
    told.set(key, comparison.found({ ...describeKey(key), left, right }));
  }
  if (comparison.repair && differing.size > 0) await repair(differing, told, options);
}

async function candidates({
  catalog,
  client,
  before,
  comparison,
  timers,
  signal,
}: CompareViewsOptions): Promise<string[]> {
  const { version } = await client.read(
    { version: catalog.version(), keys: [] },
    { timeoutMs: READ_TIMEOUT_MS, signal },
  );
  comparison.messages += 1;
  await catchUp(catalog, { version, timers, signal });
  const rows = counted(stoppable(catalog.comparable.rows(before), signal), comparison);
  const found: string[] = [];
  const ask = async (ranges: readonly { from: string; to: string }[]) => {
    comparison.messages += 1;
    const request = { version: catalog.version(), ranges: [...ranges], before };
    const { summaries } = await client.summarize(request, { timeoutMs: SUMMARIZE_TIMEOUT_MS, signal });
    return summaries.map(fromWireSummary);
  };
  for await (const key of findDifferences(ALL_REGISTERS, { own: rows, ask })) {
    found.push(key);
    if (found.length >= MAX_FOUND) {
      comparison.cutShort = true;
      break;
    }
  }
  return found;
}

/** Counts what the first look at everything reads. */
function counted(rows: RowSource, comparison: Comparison): RowSource {
  return async function* (range) {
    for await (const batch of rows(range)) {
      if (range.from === ALL_REGISTERS.from && range.to === ALL_REGISTERS.to) comparison.registers += batch.length;
      yield batch;
    }
  };
}

async function confirmed(keys: readonly string[], options: CompareViewsOptions): Promise<Map<string, Pair>> {
  const { comparison, timers, signal } = options;
  const differences = new Map<string, Pair>();
  const seen = new Map<string, Pair>();
  let open = keys;
  for (let round = 0; open.length > 0 && round < ROUNDS; round++) {
    if (round > 0) await timers.sleep(ROUND_PAUSE_MS, { signal });
    const still: string[] = [];
    for (const [key, pair] of await readBoth(open, options)) {
      if (isSame(pair.own, pair.other)) continue;
      const before = seen.get(key);
      if (before === undefined || !isSame(before.own, pair.own) || !isSame(before.other, pair.other)) still.push(key);
      else if (isLost(pair)) differences.set(key, pair);
      else comparison.underWay += 1;
      seen.set(key, pair);
    }
    open = still;
  }
  comparison.underWay += open.length;
  return differences;
}

/** True when a side lacks what the logs of the other one hold. */
function isLost({ own, other }: Pair): boolean {
  return (own.logged && !includes(other.record, own.record)) || (other.logged && !includes(own.record, other.record));
}

/** What both sides have, this one after it has folded what the other had folded. */
async function readBoth(keys: readonly string[], options: CompareViewsOptions): Promise<Map<string, Pair>> {
  const { catalog, client, comparison, timers, signal } = options;
  const pairs = new Map<string, Pair>();
  const left = [...keys];
  while (left.length > 0) {
    const [asked = []] = batches(left);
    const request = { version: catalog.version(), keys: asked };
    const { registers, version } = await client.read(request, { timeoutMs: READ_TIMEOUT_MS, signal });
    comparison.messages += 1;
    if (registers.length === 0 || registers.length > asked.length)
      throw new ContentError("invalid", "an answer to another question");
    await catchUp(catalog, { version, timers, signal });
    const answered = left.splice(0, registers.length);
    const own = await catalog.comparable.read(answered);
    for (const [index, key] of answered.entries()) {
      const { record, logged } = registers[index]!;
      const other = { record: record.byteLength === 0 ? undefined : decodeRecord(record), logged };
      pairs.set(key, { own: own[index]!, other });
    }
  }
  return pairs;
}

/**
 * Each side first takes from its own logs what its view lacks; what a site's logs lack too is published once more by the
 * side that has it. Records merge, so nothing that either side has deleted comes back.
 */
async function repair(
  differing: ReadonlyMap<string, Pair>,
  told: ReadonlyMap<string, FoundDifference>,
  options: CompareViewsOptions,
): Promise<void> {
  const { catalog, client, comparison, signal } = options;
  comparison.phase = `repairs registers with ${options.names.other}`;
  const mend = async (keys: readonly string[], publish: boolean): Promise<void> => {
    for (const batch of batches(keys)) {
      comparison.messages += 1;
      await client.mend({ keys: batch, publish }, { timeoutMs: READ_TIMEOUT_MS, signal });
    }
  };
  const lacking = (pairs: ReadonlyMap<string, Pair>, side: "own" | "other"): string[] =>
    [...pairs].flatMap(([key, { own, other }]) => {
      const [has, of] = side === "own" ? [own, other] : [other, own];
      return includes(has.record, of.record) ? [] : [key];
    });
  for (const batch of batches(lacking(differing, "own"))) await catalog.comparable.refold(batch);
  await mend(lacking(differing, "other"), false);
  const still = await readBoth([...differing.keys()], options);
  await mend(lacking(still, "own"), true);
  for (const batch of batches(lacking(still, "other"))) await catalog.comparable.publish(batch, signal);
  await untilSame(told, options);
}

async function untilSame(told: ReadonlyMap<string, FoundDifference>, options: CompareViewsOptions): Promise<void> {
  let open = [...told.keys()];
  for (let round = 0; round < ROUNDS; round++) {
    if (round > 0) await options.timers.sleep(ROUND_PAUSE_MS * 2 ** round, { signal: options.signal });
    const pairs = await readBoth(open, options);
    open = open.filter((key) => {
      const pair = pairs.get(key);
      if (pair === undefined || !isSame(pair.own, pair.other)) return true;
      told.get(key)?.repaired();
      return false;
    });
    if (open.length === 0) return;
  }
  for (const key of open) told.get(key)?.left("it was sent again, and the sites still differ");
}

function isSame(a: ComparedRegister, b: ComparedRegister): boolean {
  if (a.record === undefined || b.record === undefined) return a.record === b.record;
  return Buffer.compare(encodeRecord(a.record), encodeRecord(b.record)) === 0;
}
