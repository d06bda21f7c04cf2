import type { Catalog } from "@meridian/catalog";
import { nodeName, orderHolders, type Peers, type ProcessAddress, Role, type SiteMonitor } from "@meridian/cluster";
import { type Digest, isContentError, tryParseDigest } from "@meridian/oci";
import type { ServiceClient } from "@meridian/rpc";
import type { Clock, Logger, Timers } from "@meridian/runtime";
import { blobV1 } from "@meridian/wire";
import type { PresencePublisher } from "./presence-publisher.ts";
import { recordedAt } from "./recorded-blobs.ts";

/** What {@link CopyRepair} needs. */
export interface CopyRepairOptions {
  readonly catalog: Catalog;
  readonly peers: Peers;
  readonly monitor: SiteMonitor;
  readonly publisher: PresencePublisher;
  /** Whether this site may hold a blob. */
  readonly mayHold: (digest: Digest) => boolean;
  /** How often the nodes are asked what they lost, milliseconds. */
  readonly everyMs: number;
  readonly fetchTimeoutMs: number;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
}

type Node = ServiceClient<typeof blobV1.BlobNodeService>;

const ASK_TIMEOUT_MS = 5_000;
const FETCHES_AT_ONCE = 4;
const FIRST_REST_MS = 2_000;
const LAST_REST_MS = 60_000;
const EXPECT_AT_ONCE = 500;
/** Between two batches of records that are compared with a disk, milliseconds. */
const EXPECT_PAUSE_MS = 20;

/**
 * Keeps what the nodes of this site hold right: blobs whose copy a node found to be bad are fetched again for it, from
 * its twins or other sites; where nobody has one, the records say so. After each start of a node, what records say that
 * it holds is compared with its disk.
 */
export class CopyRepair implements AsyncDisposable {
  readonly #options: CopyRepairOptions;
  readonly #stop = new AbortController();
  readonly #asking: Disposable;
  readonly #incarnations = new Map<string, string>();
  /** "node digest" → when it may be tried again (monotonic) and how often it failed. */
  readonly #resting = new Map<string, { until: number; failures: number }>();
  readonly #running = new Map<string, Promise<void>>();
  #round: Promise<void> | undefined;

  constructor(options: CopyRepairOptions) {
    this.#options = options;
    this.#asking = options.timers.every(options.everyMs, () => {
      this.#round ??= this.#ask().finally(() => (this.#round = undefined));
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#asking[Symbol.dispose]();
    this.#stop.abort();
    await Promise.all([this.#round, ...this.#running.values()]);
  }

  async #ask(): Promise<void> {
    const { peers, log } = this.#options;
    for (const address of peers.processes(Role.blobNode, peers.topology.site)) {
      try {
        await this.#askNode(nodeName(address), this.#client(address));
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        log.debug("a blob node could not be asked what it lost", { node: nodeName(address), error });
      }
    }
  }

  async #askNode(node: string, client: Node): Promise<void> {
    const { signal } = this.#stop;
    const { digests, incarnation } = await client.lostBlobs({}, { timeoutMs: ASK_TIMEOUT_MS, signal });
    if (this.#incarnations.get(node) !== incarnation) {
      await this.#expectAll(node, client);
      this.#incarnations.set(node, incarnation);
    }
    for (const text of digests) {
      const digest = tryParseDigest(text);
      if (this.#running.size >= FETCHES_AT_ONCE) return;
      if (digest !== undefined && this.#options.mayHold(digest) && this.#isDue(node, digest))
        this.#begin(node, digest, client);
    }
  }

  /** Tells a node that has just started what records say of it. */
  async #expectAll(node: string, client: Node): Promise<void> {
    const { catalog, timers, log } = this.#options;
    const { signal } = this.#stop;
    let batch: { digest: string; size: bigint }[] = [];
    let lost = 0;
    const send = async (): Promise<void> => {
      const blobs = batch;
      batch = [];
      lost += (await client.expect({ blobs }, { timeoutMs: ASK_TIMEOUT_MS * 12, signal })).lost;
      await timers.sleep(EXPECT_PAUSE_MS, { signal });
    };
    for (const { digest, size } of recordedAt(catalog, node)) {
      batch.push({ digest, size: BigInt(size) });
      if (batch.length === EXPECT_AT_ONCE) await send();
    }
    if (batch.length > 0) await send();
    if (lost > 0) log.error("a blob node does not hold all that it should; it is fetched again", { node, lost });
  }

  #isDue(node: string, digest: Digest): boolean {
    const key = `${node} ${digest}`;
    const rest = this.#resting.get(key);
    return !this.#running.has(key) && (rest === undefined || rest.until <= this.#options.clock.monotonic());
  }

  #begin(node: string, digest: Digest, client: Node): void {
    const key = `${node} ${digest}`;
    const running = this.#repair(node, digest, client)
      .then(
        () => void this.#resting.delete(key),
        (error: unknown) => this.#rest(key, { node, digest, error }),
      )
      .finally(() => this.#running.delete(key));
    this.#running.set(key, running);
  }

  async #repair(node: string, digest: Digest, client: Node): Promise<void> {
    const { catalog, monitor, peers, publisher, fetchTimeoutMs, log } = this.#options;
    const { signal } = this.#stop;
    const others = catalog.holders(digest).filter((holder) => holder !== node);
    const { ordered } = orderHolders({ holders: others, monitor, topology: peers.topology });
    try {
      const fetch = { digest, holders: [...ordered], priority: blobV1.FetchPriority.METADATA };
      const { size } = await client.fetch(fetch, { timeoutMs: fetchTimeoutMs, signal });
      publisher.publish({ digest, size: Number(size), node });
      log.info("a lost copy is back", { node, digest });
    } catch (error) {
      signal.throwIfAborted();
      // Until it is back nobody shall count on this node.
      if (catalog.holders(digest).includes(node)) {
        await catalog.commit([{ kind: "blob-at-node", digest, node, size: 0, state: "absent" }], { signal });
      }
      throw error;
    }
  }

  #rest(key: string, fields: { node: string; digest: Digest; error: unknown }): void {
    const { clock, log } = this.#options;
    if (this.#stop.signal.aborted) return;
    const failures = (this.#resting.get(key)?.failures ?? 0) + 1;
    const restMs = Math.min(FIRST_REST_MS * 2 ** (failures - 1), LAST_REST_MS);
    this.#resting.set(key, { until: clock.monotonic() + restMs, failures });
    if (failures > 1) {
      log.debug("a lost copy could still not be fetched again", fields);
      return;
    }
    const nobody = isContentError(fields.error, "not-found");
    log.error(
      nobody ? "a lost copy was the last one that is known" : "a lost copy could not be fetched again yet",
      fields,
    );
  }

  #client(address: ProcessAddress): Node {
    return this.#options.peers.client(blobV1.BlobNodeService, address);
  }
}
