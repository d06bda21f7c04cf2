import { type Catalog, encodeRecord, type RowSource, summarizeRanges } from "@meridian/catalog";
import type { Topology } from "@meridian/cluster";
import type { RpcServer } from "@meridian/rpc";
import type { Timers } from "@meridian/runtime";
import { diffV1 } from "@meridian/wire";
import { requireKeys, requireRanges, toWireSummary } from "./wire-summary.ts";

/** How long an answer waits for the view to show what the asker has folded, in milliseconds. */
const FOLD_WAIT_MS = 20_000;
/** What one answer may have of records, in bytes. */
const MAX_RECORD_BYTES = 4 * 1024 * 1024;

/** Where a process's view is told and put right: once in every process with a catalog. */
export function registerViewDiff(options: {
  readonly rpc: Pick<RpcServer, "register">;
  readonly topology: Topology;
  readonly catalog: Catalog;
  readonly timers: Timers;
}): void {
  const { rpc, topology, catalog, timers } = options;
  const { comparable } = catalog;
  const caughtUp = (version: string, signal: AbortSignal): Promise<void> =>
    catchUp(catalog, { version, timers, signal });
  rpc.register(
    diffV1.ViewDiffService,
    {
      async summarize({ version, ranges, before }, { signal }) {
        requireRanges(ranges);
        await caughtUp(version, signal);
        const shown = catalog.version();
        const summaries = await summarizeRanges(ranges, stoppable(comparable.rows(before), signal));
        return { summaries: summaries.map(toWireSummary), version: shown };
      },
      async read({ version, keys }, { signal }) {
        requireKeys(keys);
        await caughtUp(version, signal);
        const shown = catalog.version();
        const registers: { record: Uint8Array; logged: boolean }[] = [];
        let bytes = 0;
        for (const { record, logged } of await comparable.read(keys)) {
          if (bytes > MAX_RECORD_BYTES) break;
          const encoded = record === undefined ? new Uint8Array(0) : encodeRecord(record);
          bytes += encoded.byteLength;
          registers.push({ record: encoded, logged });
        }
        return { registers, version: shown };
      },
      async mend({ keys, publish }, { signal }) {
        requireKeys(keys);
        const mended = publish ? await comparable.publish(keys, signal) : await comparable.refold(keys);
        return { mended, version: catalog.version() };
      },
    },
    { allow: ({ site, service }) => topology.sites.includes(site) && (service === "replicator" || service === "site") },
  );
}

/**
 * Resolves once the view shows the version and all that the site's own log holds.
 * @throws ContentError `unavailable` when that takes too long or the signal aborts, `precondition` for a version of a lost log.
 */
export async function catchUp(
  catalog: Pick<Catalog, "reached" | "ownLogShown">,
  { version, timers, signal }: { readonly version: string; readonly timers: Timers; readonly signal: AbortSignal },
): Promise<void> {
  const late = new AbortController();
  using _deadline = timers.after(FOLD_WAIT_MS, () => late.abort());
  const within = AbortSignal.any([late.signal, signal]);
  await catalog.reached(version, within);
  await catalog.ownLogShown(within);
}

/** Rows until the signal aborts. */
export function stoppable(rows: RowSource, signal: AbortSignal): RowSource {
  return async function* (range) {
    for await (const batch of rows(range)) {
      signal.throwIfAborted();
      yield batch;
    }
  };
}
