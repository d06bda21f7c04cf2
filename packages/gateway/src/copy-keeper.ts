import type { Change } from "@meridian/catalog";
import { nodeName, type Peers, parseNodeName, rankNodes, type Topology } from "@meridian/cluster";
import { ContentError, type Digest, type DigestAlgorithm, digestOf } from "@meridian/oci";
import type { Logger, Random } from "@meridian/runtime";
import { blobV1 } from "@meridian/wire";
import { unavailable } from "./refusal.ts";

/** Where a blob is stored once it is durable. */
export interface StoredBlob {
  readonly digest: Digest;
  readonly size: number;
  /** Nodes of this site that hold it, fsynced, as site/node. */
  readonly nodes: readonly string[];
}

/** An upload that has begun at a node. */
export interface BegunUpload {
  readonly id: string;
  /** The node's process name in this site. */
  readonly node: string;
}

/** Puts bytes on the blob nodes of this site that are to keep them. */
export interface CopyKeeper {
  /** Begins an upload on the node that will keep `digest`, or, while the digest is not known, on one picked by the upload's id. */
  begin(options: { digest?: Digest; algorithm?: DigestAlgorithm }): Promise<BegunUpload>;
  /**
   * Commits an upload and copies it to the digest's owners.
   * @throws ContentError `digest-mismatch` (nothing is stored), `not-found` when there is no such upload. Refusal 503 when copies are missing and that is to be refused.
   */
  commit(upload: BegunUpload, digest: Digest): Promise<StoredBlob>;
  /** Stores bytes that are in memory, on all owners at once. */
  store(bytes: Uint8Array, digest: Digest): Promise<StoredBlob>;
}

/** What {@link createCopyKeeper} needs. */
export interface CopyKeeperOptions {
  readonly topology: Topology;
  readonly peers: Peers;
  /** Nodes that are to keep each blob. */
  readonly copies: number;
  readonly degraded: "accept" | "refuse";
  readonly random: Random;
  readonly log: Logger;
}

const BEGIN_TIMEOUT_MS = 3_000;
/** Answers start within 20 s of a body's last byte: clients give up after 30 s. */
const COMMIT_TIMEOUT_MS = 18_000;

/** The changes that tell where a stored blob is. */
export function holderChanges({ digest, size, nodes }: StoredBlob): Change[] {
  return nodes.map((node) => ({ kind: "blob-at-node", digest, node, size, state: "present" }));
}

export function createCopyKeeper(options: CopyKeeperOptions): CopyKeeper {
  return new Keeper(options);
}

class Keeper implements CopyKeeper {
  readonly #options: CopyKeeperOptions;

  constructor(options: CopyKeeperOptions) {
    this.#options = options;
  }

  async begin({ digest, algorithm }: { digest?: Digest; algorithm?: DigestAlgorithm }): Promise<BegunUpload> {
    const id = newUploadId(this.#options.random);
    const nodes = this.#ranked(digest ?? digestOf(id));
    let lastError: unknown;
    for (const node of nodes) {
      try {
        await this.#control(node).beginUpload({ uploadId: id, algorithm }, { timeoutMs: BEGIN_TIMEOUT_MS });
        return { id, node: processOf(node) };
      } catch (error) {
        this.#options.log.warn("an upload could not begin at a blob node", { node, error });
        lastError = error;
      }
    }
    if (lastError instanceof ContentError) throw lastError;
    throw new ContentError("unavailable", "no blob node of this site takes uploads", { cause: lastError });
  }

  async commit(upload: BegunUpload, digest: Digest): Promise<StoredBlob> {
    const landing = nodeName({ site: this.#options.topology.site, process: upload.node });
    const control = this.#control(landing);
    const { size } = await control.commitUpload({ uploadId: upload.id, digest }, { timeoutMs: COMMIT_TIMEOUT_MS });
    const copied = await this.#onOwners(digest, async (node) => {
      if (node === landing) return;
      const fetch = { digest, size, holders: [landing], priority: blobV1.FetchPriority.PULL };
      await this.#control(node).fetch(fetch, { timeoutMs: COMMIT_TIMEOUT_MS });
    });
    return this.#enough({ digest, size: Number(size), nodes: [...new Set([...copied, landing])] });
  }

  async store(bytes: Uint8Array, digest: Digest): Promise<StoredBlob> {
    const nodes = await this.#onOwners(digest, async (node) => {
      await this.#control(node).put({ digest, content: bytes }, { timeoutMs: COMMIT_TIMEOUT_MS });
    });
    if (nodes.length === 0) throw new ContentError("unavailable", "no blob node of this site takes the manifest");
    return this.#enough({ digest, size: bytes.byteLength, nodes });
  }

  /** Runs `put` on the owners at once, and on further nodes in rank order for those that fail. Returns those that succeeded. */
  async #onOwners(digest: Digest, put: (node: string) => Promise<void>): Promise<string[]> {
    const ranked = this.#ranked(digest);
    const wanted = Math.min(this.#options.copies, ranked.length);
    const done: string[] = [];
    let next = 0;
    let full: ContentError | undefined;
    const worker = async (): Promise<void> => {
      while (next < ranked.length) {
        const node = ranked[next++]!;
        try {
          await put(node);
          done.push(node);
          return;
        } catch (error) {
          this.#options.log.warn("a blob node did not take its copy", { node, digest, error });
          if (error instanceof ContentError && error.kind === "no-space") full = error;
        }
      }
    };
    await Promise.all(Array.from({ length: wanted }, worker));
    if (done.length === 0 && full !== undefined) throw full;
    return done;
  }

  #enough(stored: StoredBlob): StoredBlob {
    const { copies, degraded } = this.#options;
    if (stored.nodes.length < copies && degraded === "refuse") {
      throw unavailable(`only ${stored.nodes.length} of ${copies} copies could be stored, and this site refuses fewer`);
    }
    return stored;
  }

  /** This site's nodes in the digest's order. */
  #ranked(digest: Digest): string[] {
    const { peers, topology } = this.#options;
    return rankNodes(digest, peers.processes("blob-node", topology.site).map(nodeName));
  }

  #control(node: string) {
    const { peers, topology } = this.#options;
    const address = peers.process(topology.site, processOf(node));
    if (address === undefined) throw new ContentError("not-found", `there is no blob node ${node}`);
    return peers.client(blobV1.BlobNodeService, address);
  }
}

function processOf(node: string): string {
  return parseNodeName(node)?.process ?? node;
}

function newUploadId(random: Random): string {
  return Buffer.from(random.bytes(18)).toString("base64url");
}
