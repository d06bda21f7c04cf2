import type { Catalog } from "@meridian/catalog";
import type { Peers } from "@meridian/cluster";
import type { PlacementSettings } from "@meridian/policy";
import type { RpcServer } from "@meridian/rpc";
import type { Clock, Logger, Timers } from "@meridian/runtime";
import { diffV1 } from "@meridian/wire";
import type { WantedBlobs } from "../wanted-blobs.ts";
import { registerBlobDiff } from "./blob-diff-service.ts";
import { Comparer } from "./comparer.ts";
import { Inventory } from "./inventory.ts";
import { createComparisonTelemetry } from "./telemetry.ts";

/** What {@link startComparisons} needs. */
export interface ComparisonsOptions {
  readonly everyMs: number;
  readonly repairs: boolean;
  readonly retireAfterMs: number;
  readonly catalog: Catalog;
  readonly peers: Peers;
  readonly settings: Pick<PlacementSettings, "of">;
  readonly wanted: WantedBlobs;
  /** Has everything visible looked through for blobs that are missing. */
  readonly rescan: () => void;
  /** BlobDiffService and ComparisonService are registered here. */
  readonly rpc: Pick<RpcServer, "register">;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
}

/** Compares this site with others, and answers when they compare themselves with it, until disposed. */
export function startComparisons(options: ComparisonsOptions): AsyncDisposable {
  const { peers, rpc } = options;
  const { topology } = peers;
  const inventory = new Inventory(options);
  registerBlobDiff({ rpc, topology, inventory });
  const comparer = new Comparer({ ...options, inventory, telemetry: createComparisonTelemetry() });
  rpc.register(
    diffV1.ComparisonService,
    {
      begin: async ({ other, repair }) => ({ comparison: comparer.begin(other, { repair }) }),
      async show({ other }) {
        const comparison = comparer.show(other);
        return comparison === undefined ? {} : { comparison };
      },
    },
    { allow: ({ site }) => site === topology.site },
  );
  return comparer;
}
