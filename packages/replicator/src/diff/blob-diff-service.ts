import { summarizeRanges } from "@meridian/catalog";
import type { Topology } from "@meridian/cluster";
import { parseDigest } from "@meridian/oci";
import type { RpcServer } from "@meridian/rpc";
import { diffV1 } from "@meridian/wire";
import type { Inventory } from "./inventory.ts";
import { requireKeys, requireRanges, toWireSummary } from "./wire-summary.ts";

/** Where other sites ask what this one has on its disks. */
export function registerBlobDiff(options: {
  readonly rpc: Pick<RpcServer, "register">;
  readonly topology: Topology;
  readonly inventory: Inventory;
}): void {
  const { rpc, topology, inventory } = options;
  rpc.register(
    diffV1.BlobDiffService,
    {
      async summarizeBlobs({ sites, ranges }, { signal }) {
        requireRanges(ranges);
        const summaries = await summarizeRanges(ranges, inventory.rows(sites, signal));
        return { summaries: summaries.map(toWireSummary) };
      },
      look: async ({ digests }, { signal }) => ({
        holdings: await inventory.look(requireKeys(digests).map(parseDigest), signal),
      }),
      async fetchAgain({ digests }, { signal }) {
        await inventory.fetchAgain(requireKeys(digests).map(parseDigest), signal);
        return {};
      },
    },
    { allow: ({ site, service }) => topology.sites.includes(site) && (service === "replicator" || service === "site") },
  );
}
