import type { GenService, GenServiceMethods } from "@bufbuild/protobuf/codegenv2";
import type { Catalog, Change } from "@meridian/catalog";
import { type NodeWatch, orderHolders, type Peers, parseNodeName, type SiteMonitor } from "@meridian/cluster";
import { ContentError, type Digest } from "@meridian/oci";
import type { SitePlacement } from "@meridian/policy";
import type { ServiceClient } from "@meridian/rpc";
import type { Clock, Logger, Timers } from "@meridian/runtime";
import { blobV1, nodeV1 } from "@meridian/wire";
import { type CopyPlan, planCopies } from "./copy-plan.ts";
import type { LostNodes } from "./lost-nodes.ts";

/** What {@link CopySettler} needs. */
export interface CopySettlerOptions {
  readonly catalog: Catalog;
  readonly peers: Peers;
  readonly monitor: SiteMonitor;
  readonly watch: NodeWatch;
  readonly lost: LostNodes;
  /** Nodes that are to keep each blob, now. */
  readonly copies: () => number;
  /** What this site keeps of a repository. */
  readonly placement: (repository: string) => SitePlacement;
  /** Blobs worked on at once. */
  readonly atOnce: number;
  readonly bytesPerSecond: number;
  readonly fetchTimeoutMs: number;
  readonly retryFirstMs: number;
  readonly retryMaxMs: number;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
}

/** What was done since the start, and what is left to do. */
export interface CopyProgress {
  readonly waiting: number;
  readonly copied: number;
  readonly copiedBytes: number;
  readonly removed: number;
  readonly failed: number;
}

const CONTROL_TIMEOUT_MS = 5_000;
/** Unlinked blobs that are remembered; what is forgotten is found by the next scan when it is linked. */
const MAX_UNLINKED = 100_000;
/** Beyond so many repositories that show a blob, what fetches for the site alone decides whether it is to come. */
const MAX_REPOSITORIES = 100;
const NOTHING: CopyPlan = { owners: [], sources: [], missing: [], surplus: [] };

/**
 * Brings the copies of blobs to where they belong in this site, one step at a time: a missing copy is fetched by its
 * owner, and a copy that is not needed is removed after the owners were asked whether they have theirs. Missing copies
 * come first; bytes move at a bounded rate.
 */
export class CopySettler implements AsyncDisposable {
  readonly #options: CopySettlerOptions;
  /** Blobs with a copy missing, and blobs with one too many. */
  readonly #queues = { missing: new Set<Digest>(), surplus: new Set<Digest>() };
  readonly #running = new Set<Digest>();
  readonly #resting = new Map<Digest, Disposable>();
  readonly #failures = new Map<Digest, number>();
  /** Copies that no record tells of: seen on a node's disk. */
  readonly #found = new Map<Digest, Set<string>>();
  /** Left alone, for no repository links them: the collection's business. */
  readonly #unlinked = new Set<Digest>();
  readonly #ending = new Set<Promise<void>>();
  readonly #stop = new AbortController();
  #mayMoveAt = 0;
  #copied = 0;
  #copiedBytes = 0;
  #removed = 0;
  #failed = 0;

  constructor(options: CopySettlerOptions) {
    this.#options = options;
  }

  get progress(): CopyProgress {
    const { missing, surplus } = this.#queues;
    return {
      waiting: missing.size + surplus.size + this.#running.size + this.#resting.size,
      copied: this.#copied,
      copiedBytes: this.#copiedBytes,
      removed: this.#removed,
      failed: this.#failed,
    };
  }

  /** True when it has enough to do for a while. */
  get busy(): boolean {
    return this.progress.waiting >= 64 * this.#options.atOnce;
  }

  /** A node has it on its disk, whether or not a record says so. */
  found(digest: Digest, node: string): void {
    const nodes = this.#found.get(digest) ?? new Set<string>();
    this.#found.set(digest, nodes.add(node));
    this.consider(digest);
  }

  /** True when a copy may have been missing that was not made, because no repository linked the blob. */
  isLeftAlone(digest: Digest): boolean {
    return this.#unlinked.has(digest);
  }

  /** Something about the blob may have changed. */
  consider(digest: Digest): void {
    if (this.#stop.signal.aborted || this.#running.has(digest) || this.#resting.has(digest)) return;
    const { missing, surplus } = this.#plan(digest);
    this.#queues.missing.delete(digest);
    this.#queues.surplus.delete(digest);
    if (missing.length > 0) this.#queues.missing.add(digest);
    else if (surplus.length > 0) this.#queues.surplus.add(digest);
    else this.#found.delete(digest);
    this.#fill();
  }

  /** Ends all rests: a node or a site came back. */
  wakeAll(): void {
    for (const [digest, wake] of [...this.#resting]) {
      wake[Symbol.dispose]();
      this.#resting.delete(digest);
      this.consider(digest);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    for (const wake of this.#resting.values()) wake[Symbol.dispose]();
    await Promise.all(this.#ending);
  }

  #plan(digest: Digest): CopyPlan {
    const { catalog, watch, lost, copies, peers } = this.#options;
    // What no repository links is being collected: a copy made now would bring it back, at one node after the other.
    // What was found on a node that is being emptied moves all the same.
    this.#unlinked.delete(digest);
    if (!this.#found.has(digest) && catalog.repositoriesOf(digest, 1).length === 0) {
      if (this.#unlinked.size < MAX_UNLINKED) this.#unlinked.add(digest);
      return NOTHING;
    }
    const recorded = catalog.holders(digest).filter((node) => parseNodeName(node)?.site === peers.topology.site);
    const holders = [...new Set([...recorded, ...(this.#found.get(digest) ?? [])])];
    if (holders.length === 0 && !this.#isKept(digest)) return NOTHING;
    return planCopies({
      digest,
      copies: copies(),
      keepers: watch.keepers(),
      holders,
      away: lost.away,
      lost: lost.lost,
    });
  }

  /** Whether the site is to have the blob although it has none: a lazy one waits until somebody pulls there. */
  #isKept(digest: Digest): boolean {
    const { catalog, placement } = this.#options;
    return catalog.repositoriesOf(digest, MAX_REPOSITORIES).some((repository) => placement(repository) === "eager");
  }

  #fill(): void {
    const { missing, surplus } = this.#queues;
    while (this.#running.size < this.#options.atOnce && !this.#stop.signal.aborted) {
      const queue = missing.size > 0 ? missing : surplus;
      const [digest] = queue;
      if (digest === undefined) return;
      queue.delete(digest);
      this.#running.add(digest);
      const ending = this.#settle(digest).finally(() => {
        this.#ending.delete(ending);
        this.#fill();
      });
      this.#ending.add(ending);
    }
  }

  async #settle(digest: Digest): Promise<void> {
    const { signal } = this.#stop;
    let failed = false;
    try {
      // What was planned when it was queued may be done, or undone, by now.
      const plan = this.#plan(digest);
      if (plan.missing.length > 0) await this.#copy(digest, plan);
      else if (plan.surplus.length > 0) await this.#remove(digest, plan);
    } catch (error) {
      if (signal.aborted) return;
      failed = true;
      this.#failed += 1;
      this.#options.log.debug("the copies of a blob could not be settled yet", { digest, error });
    } finally {
      this.#running.delete(digest);
    }
    if (failed) this.#rest(digest);
    else {
      this.#failures.delete(digest);
      this.consider(digest);
    }
  }

  async #copy(digest: Digest, { missing, sources }: CopyPlan): Promise<void> {
    const { catalog, peers, monitor, fetchTimeoutMs, lost } = this.#options;
    const elsewhere = catalog.holders(digest).filter((node) => parseNodeName(node)?.site !== peers.topology.site);
    const { ordered } = orderHolders({ holders: elsewhere, monitor, topology: peers.topology });
    const isAway = (node: string): boolean => lost.away.has(node);
    const holders = [...sources.filter((node) => !isAway(node)), ...ordered, ...sources.filter(isAway)];
    if (holders.length === 0) throw new ContentError("unavailable", "no holder of the blob can be asked");
    const { signal } = this.#stop;
    for (const node of missing) {
      await this.#pace();
      const { size, fetchedBytes } = await this.#client(blobV1.BlobNodeService, node).fetch(
        { digest, holders, priority: blobV1.FetchPriority.BACKGROUND },
        { timeoutMs: fetchTimeoutMs, signal },
      );
      this.#charge(Number(fetchedBytes));
      this.#copied += 1;
      await catalog.commit([{ kind: "blob-at-node", digest, node, size: Number(size), state: "present" }], { signal });
    }
  }

  /** Asks every owner for its copy before any other goes. */
  async #remove(digest: Digest, { owners, surplus }: CopyPlan): Promise<void> {
    const options = { timeoutMs: CONTROL_TIMEOUT_MS, signal: this.#stop.signal };
    const held = await Promise.all(
      owners.map((node) => this.#client(nodeV1.NodeService, node).holds({ digests: [digest] }, options)),
    );
    const without = owners.filter((_node, index) => held[index]?.held[0] !== true);
    if (without.length > 0) {
      this.#options.log.warn("copies are recorded that are not there", { digest, nodes: without });
      await this.#forget(digest, without);
      return;
    }
    await this.#forget(digest, surplus);
    for (const node of surplus) {
      const { deleted } = await this.#client(blobV1.BlobNodeService, node).delete({ digest }, options);
      this.#found.get(digest)?.delete(node);
      if (deleted) this.#removed += 1;
    }
  }

  /** The records first, then the bytes: whoever reads the records finds the bytes. */
  async #forget(digest: Digest, nodes: readonly string[]): Promise<void> {
    for (const node of nodes) this.#found.get(digest)?.delete(node);
    const changes = nodes.map((node): Change => ({ kind: "blob-at-node", digest, node, size: 0, state: "absent" }));
    await this.#options.catalog.commit(changes, { signal: this.#stop.signal });
  }

  #client<M extends GenServiceMethods>(service: GenService<M>, node: string): ServiceClient<GenService<M>> {
    const { peers } = this.#options;
    const address = peers.process(peers.topology.site, parseNodeName(node)?.process ?? "");
    if (address === undefined) throw new ContentError("unavailable", `this site has no blob node ${node}`);
    return peers.client(service, address);
  }

  /** Waits until bytes may move again. */
  async #pace(): Promise<void> {
    const { clock, timers } = this.#options;
    const waitMs = this.#mayMoveAt - clock.monotonic();
    if (waitMs > 0) await timers.sleep(waitMs, { signal: this.#stop.signal });
  }

  #charge(bytes: number): void {
    const { clock, bytesPerSecond } = this.#options;
    this.#copiedBytes += bytes;
    this.#mayMoveAt = Math.max(this.#mayMoveAt, clock.monotonic()) + (bytes / bytesPerSecond) * 1_000;
  }

  /** Puts a blob aside for a time that doubles with each failure. */
  #rest(digest: Digest): void {
    const { timers, retryFirstMs, retryMaxMs } = this.#options;
    const failures = this.#failures.get(digest) ?? 0;
    this.#failures.set(digest, failures + 1);
    const restMs = Math.min(retryFirstMs * 2 ** Math.min(failures, 30), retryMaxMs);
    const wake = timers.after(restMs, () => {
      this.#resting.delete(digest);
      this.consider(digest);
    });
    this.#resting.set(digest, wake);
  }
}
