import { hlcTime } from "@meridian/catalog";
import { nodeName, type ProcessAddress } from "@meridian/cluster";
import { ContentError } from "@meridian/oci";
import type { ServiceClient } from "@meridian/rpc";
import { collectionV1 } from "@meridian/wire";
import type { SweepParts, SweepRun } from "./sweep.ts";

const ROWS = 500;
const BATCH = 500;
const TIMEOUT_MS = 15_000;

/**
 * Drops deletions that are older than `retireAfterMs` from this site's views, log and copies: once every process of every
 * member that has a view has confirmed that nothing of the key lives there, in its site's log, or in its copies
 * (consistency.md §6). Each site drops for itself, in any order.
 */
export async function sweepDeletions(retireAfterMs: number, parts: SweepParts, run: SweepRun): Promise<void> {
  const { catalog, clock, timers } = parts;
  run.pass.phase = "deletions";
  const before = hlcTime(clock.now() - retireAfterMs);
  let old: string[] = [];
  for (let from: string | undefined, done = false; !done; ) {
    const page = catalog.retirement.oldDeletions({ ...(from !== undefined && { from }), rows: ROWS, before });
    old.push(...page.items);
    from = page.next;
    done = from === undefined;
    if (old.length >= BATCH || done) {
      await drop(old, before, parts, run);
      old = [];
    }
    await timers.sleep(0, { signal: run.signal });
  }
}

async function drop(keys: readonly string[], before: bigint, parts: SweepParts, run: SweepRun): Promise<void> {
  const { catalog, topology } = parts;
  if (run.pass.dryRun) {
    run.pass.deletions += keys.length;
    return;
  }
  if (keys.length === 0) return;
  const dead = await run.untilAsked(() => deadEverywhere(keys, before, parts, run.signal));
  if (dead.length === 0) return;
  // The views first: until the log has dropped it too, a writer that finds nothing in its view is told to look again.
  const here = withViews(parts).filter(({ site }) => site === topology.site);
  await run.untilAsked(() =>
    Promise.all(here.map((one) => call(one, parts, (client) => client.forget({ keys: [...dead], before })))),
  );
  await catalog.retirement.discard(dead, before);
  run.pass.deletions += dead.length;
  await run.pace(dead.length);
}

/** Processes with a view, of all members. */
function withViews({ topology }: SweepParts): ProcessAddress[] {
  return topology.processes.filter(({ roles }) => roles.includes("gateway") || roles.includes("replicator"));
}

async function deadEverywhere(
  keys: readonly string[],
  before: bigint,
  parts: SweepParts,
  signal: AbortSignal,
): Promise<string[]> {
  const version = parts.catalog.version();
  const request = { version, keys: [...keys], before, members: [...parts.topology.sites] };
  const answers = await Promise.all(
    withViews(parts).map((one) =>
      call(one, parts, (client) => client.areDead(request, { timeoutMs: TIMEOUT_MS, signal })),
    ),
  );
  return keys.filter((_, index) => answers.every(({ dead }) => dead[index] === true));
}

async function call<T>(
  address: ProcessAddress,
  { peers }: SweepParts,
  ask: (client: ServiceClient<typeof collectionV1.RetirementService>) => Promise<T>,
): Promise<T> {
  try {
    return await ask(peers.client(collectionV1.RetirementService, address));
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ContentError("unavailable", `${address.site}: ${nodeName(address)} cannot be asked: ${reason}`, {
      cause,
    });
  }
}
