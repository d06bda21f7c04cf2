import { ContentError, type Digest, type DigestAlgorithm, parseDigest } from "@meridian/oci";
import type { ServiceImpl } from "@meridian/rpc";
import type { BlobStore } from "@meridian/storage";
import { blobV1 } from "@meridian/wire";
import type { FetchClass } from "./fetch-scheduler.ts";
import type { FetchTable } from "./fetch-table.ts";
import type { LostBlobs } from "./lost-blobs.ts";
import type { NodeStateFile } from "./node-state.ts";
import type { Scrubber } from "./scrubber.ts";
import type { Uploads } from "./uploads.ts";
import { whenAborted } from "./when-aborted.ts";

/** What {@link createBlobNodeService} needs. */
export interface BlobNodeServiceOptions {
  /** This node, as site/process. */
  readonly self: string;
  readonly store: BlobStore;
  readonly fetches: FetchTable;
  readonly uploads: Uploads;
  readonly state: NodeStateFile;
  readonly lost: LostBlobs;
  /** Absent where the store looks after its copies itself. */
  readonly scrubber?: Scrubber;
  readonly scrubBytesPerSecond: number;
  /** Another text after each start. */
  readonly incarnation: string;
}

const MAX_IN_A_MESSAGE = 1_000;

/** Methods that any member may call; all others are for the node's own site. */
export const METHODS_FOR_ALL: ReadonlySet<string> = new Set(["stat", "status", "scrubStatus"]);

/** Control of this node, for gRPC and for callers inside the process. */
export function createBlobNodeService(options: BlobNodeServiceOptions): ServiceImpl<typeof blobV1.BlobNodeService> {
  const { store, fetches, uploads, state, lost } = options;
  return {
    async stat({ digest, verified }) {
      const info = await store.stat(parseDigest(digest));
      const outcome = verified && info !== undefined ? await store.checks?.confirm?.(info.digest) : "right";
      if (outcome === "absent" || outcome === "damaged") return { present: false, size: 0n };
      return { present: info !== undefined, size: BigInt(info?.size ?? 0) };
    },
    fetch: (request, { signal }) => fetchBlob(options, request, signal),
    async dropFetch({ digest }) {
      return { dropped: await fetches.drop(parseDigest(digest)) };
    },
    status: () => nodeStatus(options),
    async delete({ digest: text }) {
      const digest = parseDigest(text);
      lost.forget(digest);
      return { deleted: await store.delete(digest) };
    },
    async beginUpload({ uploadId, algorithm }) {
      state.requireTaking();
      await uploads.begin(uploadId, parseAlgorithm(algorithm));
      return {};
    },
    async uploadStatus({ uploadId }) {
      return { offset: BigInt(await uploads.offset(uploadId)) };
    },
    async commitUpload({ uploadId, digest }) {
      return { size: BigInt((await uploads.commit(uploadId, parseDigest(digest))).size) };
    },
    async put({ digest, content }) {
      state.requireTaking();
      await uploads.put(parseDigest(digest), content);
      return {};
    },
    async cancelUpload({ uploadId }) {
      await uploads.cancel(uploadId);
      return {};
    },
    lostBlobs: async () => ({ digests: lost.list(MAX_IN_A_MESSAGE), incarnation: options.incarnation }),
    async expect({ blobs }) {
      if (blobs.length > MAX_IN_A_MESSAGE) throw new ContentError("invalid", `more than ${MAX_IN_A_MESSAGE} blobs`);
      const expected = blobs.map(({ digest, size }) => ({
        digest: parseDigest(digest),
        ...(size > 0n && { size: Number(size) }),
      }));
      return { lost: await lost.expect(expected) };
    },
    scrubStatus: () => scrubStatus(options),
    async controlScrub({ action }) {
      const { scrubber } = options;
      if (scrubber === undefined)
        throw new ContentError("precondition", "this node's store looks after its copies itself");
      if (action === blobV1.ScrubAction.START) await scrubber.start();
      else if (action === blobV1.ScrubAction.PAUSE) await scrubber.pause();
      else throw new ContentError("invalid", "unknown scrub action");
      return { status: await scrubStatus(options) };
    },
  };
}

const { METADATA, BACKGROUND } = blobV1.FetchPriority;
const CLASSES: Readonly<Partial<Record<blobV1.FetchPriority, FetchClass>>> = {
  [METADATA]: "metadata",
  [BACKGROUND]: "background",
};

/** A caller that goes away leaves the fetch running. */
async function fetchBlob(
  { store, fetches, state }: BlobNodeServiceOptions,
  request: blobV1.FetchRequest,
  signal: AbortSignal,
): Promise<{ size: bigint; fetchedBytes: bigint }> {
  const digest: Digest = parseDigest(request.digest);
  const present = await store.stat(digest);
  if (present !== undefined) return { size: BigInt(present.size), fetchedBytes: 0n };
  state.requireTaking();
  const { fetch, started } = fetches.join(digest, {
    holders: request.holders,
    size: request.size === 0n ? undefined : Number(request.size),
    class: CLASSES[request.priority] ?? "pull",
  });
  const { size } = await Promise.race([fetch.stored, whenAborted(signal)]);
  return { size: BigInt(size), fetchedBytes: BigInt(started ? fetch.moved : 0) };
}

async function nodeStatus({ self, store, fetches }: BlobNodeServiceOptions) {
  const { blobs, bytes, freeBytes } = await store.usage();
  // Infinity, where nothing is known of the space left, does not fit a whole number.
  const free = Number.isFinite(freeBytes) ? BigInt(Math.floor(freeBytes)) : 2n ** 63n - 1n;
  const transfers = fetches.list().map((fetch) => ({
    digest: fetch.digest,
    size: BigInt(fetch.size),
    received: BigInt(fetch.received),
    holder: fetch.holder,
  }));
  return { node: self, blobs: BigInt(blobs), bytes: BigInt(bytes), freeBytes: free, transfers };
}

async function scrubStatus({ self, store, scrubber, lost, scrubBytesPerSecond }: BlobNodeServiceOptions) {
  const { blobs, bytes } = await store.usage();
  let quarantined = 0n;
  for await (const _copy of store.checks?.quarantined() ?? []) quarantined += 1n;
  const now = {
    node: self,
    blobsTotal: BigInt(blobs),
    bytesTotal: BigInt(bytes),
    lost: BigInt(lost.size),
    quarantined,
  };
  if (scrubber === undefined) return { ...now, state: blobV1.ScrubState.UNSUPPORTED };
  const { progress } = scrubber;
  return {
    ...now,
    state: SCRUB_STATES[progress.state],
    blobsChecked: BigInt(progress.blobs),
    bytesChecked: BigInt(progress.bytes),
    damaged: BigInt(progress.damaged),
    startedMs: BigInt(Math.round(progress.startedAt)),
    finishedMs: BigInt(Math.round(progress.finishedAt)),
    nextMs: BigInt(Math.round(progress.nextAt ?? 0)),
    bytesPerSecond: BigInt(scrubBytesPerSecond),
  };
}

const SCRUB_STATES = {
  idle: blobV1.ScrubState.IDLE,
  running: blobV1.ScrubState.RUNNING,
  paused: blobV1.ScrubState.PAUSED,
} as const;

function parseAlgorithm(text: string): DigestAlgorithm {
  if (text === "" || text === "sha256") return "sha256";
  if (text === "sha512") return "sha512";
  throw new ContentError("invalid", `unknown digest algorithm: ${text.slice(0, 40)}`);
}
