import { ContentError, type Digest, parseDigest } from "@meridian/oci";
import type { ServiceImpl } from "@meridian/rpc";
import type { BlobInfo, BlobStore } from "@meridian/storage";
import type { nodeV1 } from "@meridian/wire";
import type { NodeStateFile } from "./node-state.ts";
import type { BlobNodeEvents } from "./telemetry.ts";

const MAX_BATCH = 1_000;

/** How a node's copies are looked after by its site: its standing, and what it holds. */
export function createNodeService({
  self,
  store,
  state,
  events,
}: {
  readonly self: string;
  readonly store: BlobStore;
  readonly state: NodeStateFile;
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
  };
}

async function listed(
  store: BlobStore,
  { after, limit }: { readonly after: Digest | undefined; readonly limit: number },
): Promise<BlobInfo[]> {
  const found: BlobInfo[] = [];
  if (limit === 0) return found;
  for await (const info of store.list()) {
    if (after !== undefined && info.digest <= after) continue;
    found.push(info);
    if (found.length === limit) break;
  }
  return found;
}

function requireBatch(count: number): void {
  if (count > MAX_BATCH) throw new ContentError("invalid", `at most ${MAX_BATCH} blobs at once`);
}
