import { ContentError, type Digest, parseDigest } from "@meridian/oci";
import type { ServiceImpl } from "@meridian/rpc";
import { type BlobStore, type ByteSink, createMemoryBlobStore, type Upload, withDraining } from "@meridian/storage";
import type { NodeBytes, ServedBlob } from "@meridian/transfer";
import { blobV1, nodeV1 } from "@meridian/wire";

/** A blob node over the memory store, in this process: for the gateway's own tests. */
export interface MemoryBlobNode {
  readonly name: string;
  readonly store: BlobStore;
  readonly control: ServiceImpl<typeof blobV1.BlobNodeService>;
  readonly standing: ServiceImpl<typeof nodeV1.NodeService>;
  /** Takes no new bytes. */
  draining: boolean;
  readonly bytes: NodeBytes;
  /** Refuses everything, as a process that was killed. */
  down: boolean;
  /** Dies once it has sent so many bytes of the blob that is being read; absent: never. */
  dieAfter: number | undefined;
  /** The first byte of all that it sends is wrong, as on a rotten disk. */
  rotten: boolean;
  /** Finds at the next read of an opened blob that its copy is bad, and puts it aside. */
  losing: boolean;
  /** Dies once it has taken so many bytes of uploads; absent: never. */
  dieAfterTaking: number | undefined;
  /** Bytes that other nodes fetched, or reads of it sent. */
  sent: number;
  /** Whole content with the answer, as a node's cache of small blobs gives it. */
  inMemory: boolean;
}

/** `others` finds the nodes that it fetches from. */
export function createMemoryBlobNode(
  name: string,
  others: (node: string) => MemoryBlobNode | undefined,
): MemoryBlobNode {
  const store = withDraining(createMemoryBlobStore());
  let scrub: blobV1.ScrubState = blobV1.ScrubState.IDLE;
  const uploads = new Map<string, Upload>();
  const node: MemoryBlobNode = {
    name,
    store,
    control: control(),
    standing: standing(),
    draining: false,
    bytes: bytes(),
    down: false,
    dieAfter: undefined,
    dieAfterTaking: undefined,
    rotten: false,
    losing: false,
    sent: 0,
    inMemory: false,
  };
  return node;

  function alive(): void {
    if (node.down) throw new ContentError("unavailable", `${name} is down`);
  }

  async function upload(id: string): Promise<Upload> {
    alive();
    const known = uploads.get(id) ?? (await store.resume(id));
    if (known === undefined) throw new ContentError("not-found", `no upload ${id}`);
    uploads.set(id, known);
    return known;
  }

  /** True when the blob had to come from another node. */
  async function ensure(digest: Digest, holders: readonly string[]): Promise<string | undefined> {
    alive();
    if ((await store.stat(digest)) !== undefined) return name;
    let unreachable: ContentError | undefined;
    for (const holder of holders) {
      const from = others(holder);
      if (from === undefined || from.down) {
        unreachable = new ContentError("unavailable", `${holder} is down`);
        continue;
      }
      await using blob = await from.store.open(digest);
      if (blob === undefined) continue;
      await using copy = await store.begin(`fetch-${digest.slice(7, 40)}`);
      await blob.read({ start: 0, end: blob.size }, { write: (chunk) => copy.write(chunk) });
      await copy.commit(digest);
      from.sent += blob.size;
      return holder;
    }
    if (unreachable !== undefined) throw unreachable;
    return undefined;
  }

  function taking(): void {
    alive();
    if (node.draining) throw new ContentError("unavailable", `${name} is being drained`);
  }

  function standing(): ServiceImpl<typeof nodeV1.NodeService> {
    return {
      async state() {
        alive();
        return { node: name, draining: node.draining };
      },
      async drainBlobs({ digests }) {
        alive();
        for (const digest of digests) store.drain(parseDigest(digest));
        return {};
      },
      async removeDrained({ digests }) {
        alive();
        const removed = await Promise.all(digests.map((digest) => store.removeDrained(parseDigest(digest))));
        const { REMOVED, KEPT } = nodeV1.Removal;
        return { removals: removed.map((removal) => (removal === "removed" ? REMOVED : KEPT)) };
      },
      async keepBlobs({ digests }) {
        for (const digest of digests) store.keep(parseDigest(digest));
        return {};
      },
      async setDraining({ draining }) {
        alive();
        node.draining = draining;
        return {};
      },
      holds: async () => ({ held: [] }),
      list: async () => ({ blobs: [] }),
    };
  }

  function control(): ServiceImpl<typeof blobV1.BlobNodeService> {
    return {
      async stat({ digest }) {
        alive();
        const info = await store.stat(parseDigest(digest));
        return { present: info !== undefined, size: BigInt(info?.size ?? 0) };
      },
      async fetch({ digest, holders }) {
        taking();
        if ((await ensure(parseDigest(digest), holders)) === undefined)
          throw new ContentError("not-found", "no holder has it");
        const size = BigInt((await store.stat(parseDigest(digest)))!.size);
        return { size, fetchedBytes: size };
      },
      dropFetch: async () => ({ dropped: false }),
      async status() {
        alive();
        const { blobs, bytes } = await store.usage();
        return { node: name, blobs: BigInt(blobs), bytes: BigInt(bytes) };
      },
      delete: async ({ digest }) => ({ deleted: await store.delete(parseDigest(digest)) }),
      async beginUpload({ uploadId, algorithm }) {
        taking();
        uploads.set(uploadId, await store.begin(uploadId, { algorithm: algorithm === "sha512" ? "sha512" : "sha256" }));
        return {};
      },
      uploadStatus: async ({ uploadId }) => ({ offset: BigInt((await upload(uploadId)).offset) }),
      async commitUpload({ uploadId, digest }) {
        const { size } = await (await upload(uploadId)).commit(parseDigest(digest));
        uploads.delete(uploadId);
        return { size: BigInt(size) };
      },
      async put({ digest, content }) {
        taking();
        await store.put(parseDigest(digest), content);
        return {};
      },
      async cancelUpload({ uploadId }) {
        await (await upload(uploadId)).cancel();
        uploads.delete(uploadId);
        return {};
      },
      lostBlobs: async () => ({}),
      expect: async () => ({}),
      scrubStatus: async () => ({ node: name, state: scrub }),
      async controlScrub({ action }) {
        alive();
        scrub = action === blobV1.ScrubAction.PAUSE ? blobV1.ScrubState.PAUSED : blobV1.ScrubState.RUNNING;
        return { status: { node: name, state: scrub } };
      },
    };
  }

  function bytes(): NodeBytes {
    const kept = new Map<Digest, Uint8Array>();
    return {
      cached: (digest) => (node.inMemory ? kept.get(digest) : undefined),
      async open(digest, { holders }) {
        const from = await ensure(digest, holders);
        if (from === undefined) return undefined;
        const blob = (await store.open(digest))!;
        if (blob.bytes !== undefined) kept.set(digest, blob.bytes);
        const served: ServedBlob = {
          size: blob.size,
          servedBy: from,
          route: from === name ? "local" : "stream",
          bytes: node.inMemory ? blob.bytes : undefined,
          async read({ start, end }, sink, options) {
            if (node.losing && (await store.delete(digest))) {
              throw new ContentError("unavailable", `${name} put its copy aside`);
            }
            for (let at = start; at < end; ) {
              alive();
              const until = Math.min(end, at + 64 * 1024);
              await blob.read({ start: at, end: until }, node.rotten && at === 0 ? flipped(sink) : sink, options);
              node.sent += until - at;
              at = until;
              if (node.dieAfter !== undefined && node.sent >= node.dieAfter) node.down = true;
            }
          },
          [Symbol.asyncDispose]: () => blob[Symbol.asyncDispose](),
        };
        return served;
      },
      async append(uploadId, body, { offset }) {
        const target = await upload(uploadId);
        if (offset !== undefined && offset !== target.offset) {
          throw new ContentError("invalid-range", `the upload stands at ${target.offset}`);
        }
        try {
          for await (const chunk of body) {
            if (node.dieAfterTaking !== undefined && target.offset >= node.dieAfterTaking) node.down = true;
            alive();
            await target.write(chunk);
          }
        } finally {
          await target.sync();
        }
        return { offset: target.offset };
      },
    };
  }
}

function flipped(sink: ByteSink): ByteSink {
  return {
    write(chunk) {
      const wrong = Buffer.from(chunk);
      wrong[0] = (wrong[0] ?? 0) ^ 1;
      return sink.write(wrong);
    },
  };
}
