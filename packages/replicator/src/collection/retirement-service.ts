import type { Catalog } from "@meridian/catalog";
import { requireAllAsked, type Topology } from "@meridian/cluster";
import { ContentError } from "@meridian/oci";
import type { RpcServer } from "@meridian/rpc";
import type { Timers } from "@meridian/runtime";
import { collectionV1 } from "@meridian/wire";

const MAX_KEYS = 1_000;
/** How long an answer waits for the view to show what the asker has folded, in milliseconds. */
const FOLD_WAIT_MS = 8_000;

/** Answers for one process's view and its site's logs when deletions are to be dropped: once in every process with a catalog. */
export function registerRetirement(options: {
  readonly rpc: Pick<RpcServer, "register">;
  readonly topology: Topology;
  readonly catalog: Catalog;
  readonly timers: Timers;
}): void {
  const { rpc, topology, catalog, timers } = options;
  rpc.register(
    collectionV1.RetirementService,
    {
      async areDead({ version, keys, before, members }, { signal }) {
        requireAllAsked(members, topology);
        if (keys.length > MAX_KEYS) throw new ContentError("invalid", `more than ${MAX_KEYS} keys`);
        const late = new AbortController();
        using _deadline = timers.after(FOLD_WAIT_MS, () => late.abort());
        const within = AbortSignal.any([late.signal, signal]);
        await catalog.reached(version, within);
        await catalog.ownLogShown(within);
        // The answer is a promise, also after a power loss.
        await catalog.stored(within);
        return { dead: await catalog.retirement.areDead(keys, before) };
      },
      async forget({ keys, before }) {
        if (keys.length > MAX_KEYS) throw new ContentError("invalid", `more than ${MAX_KEYS} keys`);
        await catalog.retirement.forget(keys, before);
        return {};
      },
    },
    {
      allow: ({ site, service }, method) =>
        method === "areDead" && (service === "replicator" || service === "site")
          ? topology.sites.includes(site)
          : site === topology.site,
    },
  );
}
