import type { Change } from "@meridian/catalog";
import { type NodeWatch, nodeName, parseNodeName, type Topology } from "@meridian/cluster";
import { ContentError, type Digest, type DigestAlgorithm, digestOf } from "@meridian/oci";
import type { Clock, Logger, Random } from "@meridian/runtime";
import { blobV1 } from "@meridian/wire";
import type { BegunUpload, MirroredUploads } from "./mirrored-upload.ts";
import { unavailable } from "./refusal.ts";
import type { UploadNodes } from "./upload-nodes.ts";

/** Where a blob is stored once it is durable. */
export interface StoredBlob {
  readonly digest: Digest;
  readonly size: number;
  /** Nodes of this site that hold it, fsynced, as site/node. */
  readonly nodes: readonly string[];
}

/** Puts bytes on the blob nodes of this site that are to keep them. */
export interface CopyKeeper {
  /**
   * Begins an upload on the nodes that will keep `digest`, or, while the digest is not known, on as many picked by the
   * upload's id.
   * @throws Refusal 503 when there are too few and that is to be refused.
   */
  begin(options: { id: string; digest?: Digest; algorithm?: DigestAlgorithm }): Promise<BegunUpload>;
  /**
   * Makes an upload a blob where it is. Bytes are moved only to replace a copy that was lost on the way.
   * @throws ContentError `digest-mismatch` (nothing is stored), `not-found` when there is no such upload. Refusal 503 when copies are missing and that is to be refused.
   */
  commit(upload: BegunUpload, digest: Digest): Promise<StoredBlob>;
  /** Stores bytes that are in memory, on all owners at once. */
  store(bytes: Uint8Array, digest: Digest): Promise<StoredBlob>;
}

/** What {@link createCopyKeeper} needs. */
export interface CopyKeeperOptions {
  readonly topology: Topology;
  /** Which nodes take bytes now. */
  readonly watch: Pick<NodeWatch, "takers">;
  readonly nodes: UploadNodes;
  readonly uploads: MirroredUploads;
  /** Nodes that are to keep each blob, now: it follows how many there are. */
  readonly copies: () => number;
  readonly degraded: "accept" | "refuse";
  readonly clock: Clock;
  readonly log: Logger;
}

const BEGIN_TIMEOUT_MS = 3_000;
/** Answers start within 20 s of a body's last byte: clients give up after 30 s. */
const COMMIT_TIMEOUT_MS = 18_000;
/** Time for replacing a lost copy however long the commit took. */
const LEAST_FILL_MS = 1_000;

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

  async begin({
    id,
    digest,
    algorithm,
  }: {
    id: string;
    digest?: Digest;
    algorithm?: DigestAlgorithm;
  }): Promise<BegunUpload> {
    const { nodes, uploads, log } = this.#options;
    const tried = await this.#onOwners(digest ?? digestOf(id), [], async (node) => {
      await nodes.control(processOf(node)).beginUpload({ uploadId: id, algorithm }, { timeoutMs: BEGIN_TIMEOUT_MS });
    });
    if (tried.done.length === 0) {
      if (tried.error instanceof ContentError) throw tried.error;
      throw new ContentError("unavailable", "no blob node of this site takes uploads", { cause: tried.error });
    }
    const upload = { id, nodes: tried.done.map(processOf) };
    try {
      this.#requireEnough(tried.done.length);
    } catch (error) {
      await uploads.cancel(upload).catch((cause: unknown) => log.debug("an upload stays behind", { error: cause }));
      throw error;
    }
    return upload;
  }

  async commit(upload: BegunUpload, digest: Digest): Promise<StoredBlob> {
    const { uploads, nodes, topology, clock } = this.#options;
    const started = clock.monotonic();
    const committed = await uploads.commit(upload, digest);
    const here = committed.nodes.map((process) => nodeName({ site: topology.site, process }));
    const { done } = await this.#onOwners(digest, here, async (node) => {
      const timeoutMs = Math.max(LEAST_FILL_MS, COMMIT_TIMEOUT_MS - (clock.monotonic() - started));
      const fetch = { digest, size: BigInt(committed.size), holders: here, priority: blobV1.FetchPriority.PULL };
      await nodes.control(processOf(node)).fetch(fetch, { timeoutMs });
    });
    const stored = { digest, size: committed.size, nodes: [...here, ...done] };
    this.#requireEnough(stored.nodes.length);
    return stored;
  }

  async store(bytes: Uint8Array, digest: Digest): Promise<StoredBlob> {
    const { nodes } = this.#options;
    const { done, error } = await this.#onOwners(digest, [], async (node) => {
      await nodes.control(processOf(node)).put({ digest, content: bytes }, { timeoutMs: COMMIT_TIMEOUT_MS });
    });
    if (done.length === 0) {
      if (error instanceof ContentError && error.kind === "no-space") throw error;
      throw new ContentError("unavailable", "no blob node of this site takes the manifest", { cause: error });
    }
    this.#requireEnough(done.length);
    return { digest, size: bytes.byteLength, nodes: done };
  }

  /**
   * Runs `put` on as many owners at once as are wanted beside those that have it, and on further nodes in their order
   * for those that fail. `error`: the last failure, that of a full disk first.
   */
  async #onOwners(
    digest: Digest,
    have: readonly string[],
    put: (node: string) => Promise<void>,
  ): Promise<{ done: string[]; error?: unknown }> {
    const order = this.#options.watch.takers(digest).filter((node) => !have.includes(node));
    const missing = Math.min(Math.max(0, this.#options.copies() - have.length), order.length);
    const done: string[] = [];
    let next = 0;
    let failure: unknown;
    const worker = async (): Promise<void> => {
      while (next < order.length) {
        const node = order[next++]!;
        try {
          await put(node);
          done.push(node);
          return;
        } catch (error) {
          this.#options.log.warn("a blob node did not take its copy", { node, digest, error });
          if (!(failure instanceof ContentError && failure.kind === "no-space")) failure = error;
        }
      }
    };
    await Promise.all(Array.from({ length: missing }, worker));
    return { done, error: failure };
  }

  #requireEnough(stored: number): void {
    const copies = this.#options.copies();
    if (stored >= copies || this.#options.degraded === "accept") return;
    throw unavailable(`only ${stored} of ${copies} copies can be stored now, and this site refuses fewer`);
  }
}

function processOf(node: string): string {
  return parseNodeName(node)?.process ?? node;
}

/** Names an upload: unguessable, so that nobody comes upon another's. */
export function newUploadId(random: Random): string {
  return Buffer.from(random.bytes(18)).toString("base64url");
}
