import type { Catalog, Change } from "@meridian/catalog";
import { type NodeWatch, nodeName, type Peers, parseNodeName, Role } from "@meridian/cluster";
import { type Digest, tryParseDigest } from "@meridian/oci";
import type { Logger, Timers } from "@meridian/runtime";
import { nodeV1 } from "@meridian/wire";
import type { CopySettler } from "./copy-settler.ts";
import { allRepositories, blobsOfManifest, linkedDigests } from "./visible-blobs.ts";

/** What {@link CopyScan} needs. */
export interface CopyScanOptions {
  readonly catalog: Catalog;
  readonly peers: Peers;
  readonly watch: NodeWatch;
  readonly settler: CopySettler;
  /** How often everything visible is looked through, and every node asked for what it is said to hold, milliseconds. */
  readonly everyMs: number;
  readonly timers: Timers;
  readonly log: Logger;
}

/** Digests handled between two turns of the event loop. */
const SLICE = 200;
const BUSY_PAUSE_MS = 100;
/** Digests in one question to a node, and the pause after it: 4 000 look-ups a second at most. */
const BATCH = 200;
const BATCH_PAUSE_MS = 50;
const CONTROL_TIMEOUT_MS = 10_000;
const DRAIN_PAGE = 500;
const RETRY_MS = 2_000;

/**
 * Finds blobs whose copies are not where they belong: from the records, whenever the nodes change; from the nodes
 * themselves, when one comes back and from time to time, because a disk may have been replaced or a file be gone; and
 * from the disk of a node that is being drained, so that nothing is left there that no record tells of.
 */
export class CopyScan implements AsyncDisposable {
  readonly #options: CopyScanOptions;
  readonly #stop = new AbortController();
  readonly #open = new DisposableStack();
  #due = true;
  /** Nodes to be asked for what the records say that they hold. */
  #asked = new Set<string>();
  #running: Promise<void> | undefined;
  #scanning = false;

  constructor(options: CopyScanOptions) {
    this.#options = options;
    const { watch, timers, everyMs } = options;
    for (const node of this.#nodes()) this.#asked.add(node);
    this.#open.use(timers.every(everyMs, () => this.askAll()));
    this.#open.use(
      watch.subscribe((node, state) => {
        // It may come back with another disk, or without some files.
        if (state === "active") this.#asked.add(node);
        this.look();
      }),
    );
    this.look();
  }

  /** True while it looks through everything. */
  get scanning(): boolean {
    return this.#scanning;
  }

  /** Looks through everything soon. */
  look(): void {
    this.#due = true;
    if (this.#stop.signal.aborted) return;
    this.#running ??= this.#run().finally(() => (this.#running = undefined));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#open.dispose();
    this.#stop.abort();
    await this.#running;
  }

  /** Asks every node soon for what the records say that it holds. */
  askAll(): void {
    for (const node of this.#nodes()) this.#asked.add(node);
    this.look();
  }

  #nodes(): string[] {
    const { peers } = this.#options;
    return peers.processes(Role.blobNode, peers.topology.site).map(nodeName);
  }

  async #run(): Promise<void> {
    const { timers, log } = this.#options;
    const { signal } = this.#stop;
    await timers.sleep(0, { signal }).catch(() => undefined);
    while (!signal.aborted && (this.#due || this.#draining().length > 0)) {
      try {
        if (this.#due) {
          this.#scanning = true;
          await this.#scan().finally(() => {
            this.#scanning = false;
          });
        }
        for (const node of this.#draining()) await this.#empty(node);
      } catch (error) {
        if (signal.aborted) return;
        log.warn("looking for misplaced copies failed; will try again", { error });
        this.#due = true;
        await timers.sleep(RETRY_MS, { signal }).catch(() => undefined);
      }
    }
  }

  #draining(): string[] {
    return this.#nodes().filter((node) => this.#options.watch.state(node) === "draining");
  }

  async #scan(): Promise<void> {
    const { catalog, settler, timers } = this.#options;
    const { signal } = this.#stop;
    this.#due = false;
    const asking = new Map([...this.#asked].map((node) => [node, [] as Digest[]]));
    this.#asked = new Set();
    let count = 0;
    for (const digest of this.#visible()) {
      settler.consider(digest);
      for (const node of asking.size === 0 ? [] : catalog.holders(digest)) {
        const batch = asking.get(node);
        batch?.push(digest);
        if (batch?.length === BATCH) await this.#ask(node, batch.splice(0));
      }
      if (++count % SLICE === 0) await timers.sleep(0, { signal });
      while (settler.busy) await timers.sleep(BUSY_PAUSE_MS, { signal });
    }
    for (const [node, batch] of asking) if (batch.length > 0) await this.#ask(node, batch);
  }

  *#visible(): Iterable<Digest> {
    const { catalog } = this.#options;
    for (const repository of allRepositories(catalog)) {
      for (const digest of linkedDigests(catalog, repository)) {
        if (catalog.manifest(repository, digest) === undefined) yield digest;
        else for (const blob of blobsOfManifest(catalog, repository, digest)) yield blob.digest;
      }
    }
  }

  /** What a node does not hold although the records say so is said to be absent: then it is missing. */
  async #ask(node: string, digests: readonly Digest[]): Promise<void> {
    const { catalog, settler, timers, log } = this.#options;
    const { signal } = this.#stop;
    const unique = [...new Set(digests)];
    const client = this.#client(node);
    if (client === undefined) return;
    const answer = await client
      .holds({ digests: unique }, { timeoutMs: CONTROL_TIMEOUT_MS, signal })
      .catch((error: unknown) => {
        signal.throwIfAborted();
        log.debug("a blob node could not be asked for its blobs", { node, error });
        // It is asked again when it is back.
        return undefined;
      });
    if (answer === undefined) return;
    const gone = unique.filter((_digest, index) => answer.held[index] !== true);
    if (gone.length > 0) {
      log.warn("a blob node lacks blobs that it is said to hold; they are copied to it again", {
        node,
        blobs: gone.length,
      });
      const changes = gone.map((digest): Change => ({ kind: "blob-at-node", digest, node, size: 0, state: "absent" }));
      await catalog.commit(changes, { signal });
      for (const digest of gone) settler.consider(digest);
    }
    await timers.sleep(BATCH_PAUSE_MS, { signal });
  }

  /** Has the blobs on a draining node's disk moved, a page at a time, until there is none or it stops being drained. */
  async #empty(node: string): Promise<void> {
    const { settler, timers, watch } = this.#options;
    const { signal } = this.#stop;
    let after = "";
    while (!this.#due && watch.state(node) === "draining") {
      const client = this.#client(node);
      if (client === undefined) return;
      const page = await client.list({ after, limit: DRAIN_PAGE }, { timeoutMs: CONTROL_TIMEOUT_MS, signal });
      for (const { digest } of page.blobs) {
        const parsed = tryParseDigest(digest);
        if (parsed !== undefined) settler.found(parsed, node);
        while (settler.busy) await timers.sleep(BUSY_PAUSE_MS, { signal });
      }
      after = page.blobs.length < DRAIN_PAGE ? "" : (page.blobs.at(-1)?.digest ?? "");
      // What could not be moved is found again from the beginning, and what uploads that had begun leave there.
      if (after === "") {
        await timers.sleep(RETRY_MS, { signal });
        if (page.blobs.length === 0) return;
      }
    }
  }

  #client(node: string) {
    const { peers } = this.#options;
    const address = peers.process(peers.topology.site, parseNodeName(node)?.process ?? "");
    return address === undefined ? undefined : peers.client(nodeV1.NodeService, address);
  }
}
