import { ContentError, type Digest, parseDigest } from "@meridian/oci";
import type { ServiceImpl } from "@meridian/rpc";
import type { BlobInfo, BlobStore, DrainingStore, Removal } from "@meridian/storage";
import { nodeV1 } from "@meridian/wire";
import type { LostBlobs } from "./lost-blobs.ts";
import type { NodeStateFile } from "./node-state.ts";
import type { BlobNodeEvents } from "./telemetry.ts";

const MAX_BATCH = 1_000;
/** Removals under way at once: the disk's queue stays free for reads. */
const REMOVALS_AT_ONCE = 8;

const REMOVALS: Readonly<Record<Removal, nodeV1.Removal>> = {
  removed: nodeV1.Removal.REMOVED,
  kept: nodeV1.Removal.KEPT,
  absent: nodeV1.Removal.ABSENT,
};

/** How a node's copies are looked after by its site: its standing, and what it holds. */
export function createNodeService({
  self,
  store,
  state,
  lost,
  events,
}: {
  readonly self: string;
  readonly store: DrainingStore;
  readonly state: NodeStateFile;
  readonly lost: Pick<LostBlobs, "forget">;
  readonly events: BlobNodeEvents;
}): ServiceImpl<typeof nodeV1.NodeService> {
  return {
    async state() {
      const { draining, drainBlobs, drainBytes } = state.standing;
      return { node: self, draining, drainBlobs: BigInt(drainBlobs), drainBytes: BigInt(drainBytes) };
    },
    async setDraining({ draining }) {
      if (draining === state.standing.draining) return {};
      const { blobs, bytes } = draining ? await store.usage() : { blobs: 0, bytes: 0 };
      await state.set({ draining, drainBlobs: blobs, drainBytes: bytes });
      events.standingChanged(draining);
      return {};
    },
    async holds({ digests }) {
      requireBatch(digests.length);
      const infos = await Promise.all(digests.map((digest) => store.stat(parseDigest(digest))));
      return { held: infos.map((info) => info !== undefined) };
    },
    async list({ after, limit }) {
      requireBatch(limit);
      const blobs = await listed(store, { after: after === "" ? undefined : parseDigest(after), limit });
      return { blobs: blobs.map(({ digest, size }) => ({ digest, size: BigInt(size) })) };
    },
    async drainBlobs({ digests }) {
      requireBatch(digests.length);
      for (const digest of digests.map(parseDigest)) store.drain(digest);
      return {};
    },
    async removeDrained({ digests }) {
      requireBatch(digests.length);
      return { removals: (await removeAll(digests.map(parseDigest), { store, lost })).map((one) => REMOVALS[one]) };
    },
    async keepBlobs({ digests }) {
      requireBatch(digests.length);
      for (const digest of digests.map(parseDigest)) store.keep(digest);
      return {};
    },
  };
}

async function removeAll(
  digests: readonly Digest[],
  { store, lost }: { readonly store: DrainingStore; readonly lost: Pick<LostBlobs, "forget"> },
): Promise<Removal[]> {
  const removals: Removal[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < digests.length) {
      const index = next++;
      const digest = digests[index]!;
      removals[index] = await store.removeDrained(digest);
      if (removals[index] === "removed") lost.forget(digest);
    }
  };
  await Promise.all(Array.from({ length: REMOVALS_AT_ONCE }, worker));
  return removals;
}

async function listed(
  store: BlobStore,
  { after, limit }: { readonly after: Digest | undefined; readonly limit: number },
): Promise<BlobInfo[]> {
  const found: BlobInfo[] = [];
  if (limit === 0) return found;
  for await (const info of store.list({ after })) {
    found.push(info);
    if (found.length === limit) break;
  }
  return found;
}

function requireBatch(count: number): void {
  if (count > MAX_BATCH) throw new ContentError("invalid", `at most ${MAX_BATCH} blobs at once`);
}
