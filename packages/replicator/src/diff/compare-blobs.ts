import { findDifferences, type RowSource } from "@meridian/catalog";
import { type Digest, parseDigest } from "@meridian/oci";
import type { ServiceClient } from "@meridian/rpc";
import type { Timers } from "@meridian/runtime";
import type { diffV1 } from "@meridian/wire";
import type { Comparison, FoundDifference } from "./comparison.ts";
import { ALL_BLOBS, type Holding, type Inventory } from "./inventory.ts";
import { batches, fromWireSummary } from "./wire-summary.ts";

/** What {@link compareBlobs} works with. */
export interface CompareBlobsOptions {
  readonly inventory: Inventory;
  readonly client: ServiceClient<typeof diffV1.BlobDiffService>;
  readonly comparison: Comparison;
  readonly timers: Timers;
  readonly signal: AbortSignal;
}

interface Pair {
  readonly own: Holding;
  readonly other: Holding;
}

const SUMMARIZE_TIMEOUT_MS = 600_000;
const LOOK_TIMEOUT_MS = 60_000;
const LOOK_AGAIN_MS = 1_000;
/** A repaired blob has to land within this. */
const REPAIR_TIMEOUT_MS = 60_000;
const MAX_FOUND = 20_000;

/**
 * Compares what is on the disks of the two sites: of the blobs that both show and keep (eager), so that what placement
 * keeps away is no difference. What is not there and is waiting to be fetched is under way.
 * @throws ContentError `unavailable` when the other site, or a node of either, cannot be asked.
 */
export async function compareBlobs(options: CompareBlobsOptions): Promise<void> {
  const { comparison, timers, signal } = options;
  comparison.phase = "blobs";
  const candidates = await find(options);
  const first = await lookBoth(candidates, options);
  const suspects = [...first].flatMap(([digest, pair]) => (isMissing(pair) ? [digest] : []));
  if (suspects.length === 0) return;
  // What has just become visible is looked for a moment later.
  await timers.sleep(LOOK_AGAIN_MS, { signal });
  const told = new Map<Digest, FoundDifference>();
  for (const [digest, pair] of await lookBoth(suspects, options)) {
    if (!isMissing(pair)) continue;
    const here = lacks(pair.own);
    if ((here ? pair.own : pair.other).underWay) comparison.underWay += 1;
    else told.set(digest, comparison.found(describe(digest, pair, comparison)));
  }
  if (comparison.repair && told.size > 0) await repair(told, options);
}

async function find({ inventory, client, comparison, signal }: CompareBlobsOptions): Promise<Digest[]> {
  const sites = [comparison.site, comparison.other];
  const found: Digest[] = [];
  const ask = async (ranges: readonly { from: string; to: string }[]) => {
    comparison.messages += 1;
    const request = { sites, ranges: [...ranges] };
    const { summaries } = await client.summarizeBlobs(request, { timeoutMs: SUMMARIZE_TIMEOUT_MS, signal });
    return summaries.map(fromWireSummary);
  };
  const own = counted(inventory.rows(sites, signal), comparison);
  for await (const digest of findDifferences(ALL_BLOBS, { own, ask })) {
    found.push(parseDigest(digest));
    if (found.length >= MAX_FOUND) {
      comparison.cutShort = true;
      break;
    }
  }
  return found;
}

function counted(rows: RowSource, comparison: Comparison): RowSource {
  return async function* (range) {
    for await (const batch of rows(range)) {
      if (range.from === ALL_BLOBS.from && range.to === ALL_BLOBS.to) comparison.blobs += batch.length;
      yield batch;
    }
  };
}

async function lookBoth(
  digests: readonly Digest[],
  { inventory, client, comparison, signal }: CompareBlobsOptions,
): Promise<Map<Digest, Pair>> {
  const pairs = new Map<Digest, Pair>();
  for (const batch of batches(digests)) {
    comparison.messages += 1;
    const { holdings } = await client.look({ digests: batch }, { timeoutMs: LOOK_TIMEOUT_MS, signal });
    const own = await inventory.look(batch, signal);
    for (const [index, digest] of batch.entries()) {
      const other = holdings[index];
      if (other !== undefined) pairs.set(digest, { own: own[index]!, other });
    }
  }
  return pairs;
}

function lacks({ expected, held }: Holding): boolean {
  return expected && !held;
}

function isMissing({ own, other }: Pair): boolean {
  return (lacks(own) && other.held) || (lacks(other) && own.held);
}

function describe(digest: Digest, { own, other }: Pair, comparison: Comparison) {
  const words = (site: string, { held, recorded, repository }: Holding): string => {
    if (held) return `${site} has its bytes`;
    return `${site} does not have its bytes${recorded ? " although its records say so" : ""}, which ${repository} shows`;
  };
  const name = `${digest} (${other.size || own.size} bytes)`;
  return { kind: "blob", name, left: words(comparison.site, own), right: words(comparison.other, other) };
}

async function repair(told: ReadonlyMap<Digest, FoundDifference>, options: CompareBlobsOptions): Promise<void> {
  const { inventory, client, comparison, timers, signal } = options;
  comparison.phase = "repairs blobs";
  for (const batch of batches([...told.keys()])) {
    comparison.messages += 1;
    await Promise.all([
      inventory.fetchAgain(batch, signal),
      client.fetchAgain({ digests: batch }, { timeoutMs: LOOK_TIMEOUT_MS, signal }),
    ]);
  }
  let open = [...told.keys()];
  let pairs = new Map<Digest, Pair>();
  for (let waited = 0; open.length > 0 && waited < REPAIR_TIMEOUT_MS; waited += LOOK_AGAIN_MS) {
    await timers.sleep(LOOK_AGAIN_MS, { signal });
    pairs = await lookBoth(open, options);
    open = open.filter((digest) => {
      const pair = pairs.get(digest);
      if (pair === undefined || isMissing(pair)) return true;
      told.get(digest)?.repaired();
      return false;
    });
  }
  for (const digest of open) {
    const pair = pairs.get(digest);
    const isFetched = pair !== undefined && (lacks(pair.own) ? pair.own : pair.other).underWay;
    told.get(digest)?.left(isFetched ? "it is still being fetched" : "it could not be fetched yet");
  }
}
