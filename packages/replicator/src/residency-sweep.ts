import type { Catalog } from "@meridian/catalog";
import { nodeName, type Peers, type ProcessAddress, parseNodeName, Role } from "@meridian/cluster";
import type { Digest } from "@meridian/oci";
import type { Logger, Timers } from "@meridian/runtime";
import { blobV1 } from "@meridian/wire";
import { recordedAt } from "./recorded-blobs.ts";

/** What {@link ResidencySweep} needs. */
export interface ResidencySweepOptions {
  readonly catalog: Catalog;
  readonly peers: Peers;
  /** Whether this site may hold a blob. */
  readonly mayHold: (digest: Digest) => boolean;
  /** Whether anything at all is kept from this site. */
  readonly isRestricted: () => boolean;
  /** Milliseconds between two looks. */
  readonly everyMs: number;
  readonly timers: Timers;
  readonly log: Logger;
}

const CALL_TIMEOUT_MS = 5_000;
const SLICE = 200;

/**
 * Removes what this site holds and may not hold any more, once a node of another site has said that it has it. What
 * nobody else has stays, and is told: to lose it would be worse.
 */
export class ResidencySweep implements AsyncDisposable {
  readonly #options: ResidencySweepOptions;
  readonly #stop = new AbortController();
  readonly #sweeping: Disposable;
  #running: Promise<void> | undefined;

  constructor(options: ResidencySweepOptions) {
    this.#options = options;
    this.#sweeping = options.timers.every(options.everyMs, () => this.sweep());
  }

  /** Looks through what this site's nodes hold, soon; nothing happens while a look is under way. */
  sweep(): void {
    if (this.#stop.signal.aborted || !this.#options.isRestricted()) return;
    this.#running ??= this.#run().finally(() => (this.#running = undefined));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#sweeping[Symbol.dispose]();
    this.#stop.abort();
    await this.#running;
  }

  async #run(): Promise<void> {
    const { peers, log } = this.#options;
    for (const address of peers.processes(Role.blobNode, peers.topology.site)) {
      try {
        await this.#sweepNode(address);
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        log.warn("what this site may not hold could not be removed; will try again", {
          node: nodeName(address),
          error,
        });
      }
    }
  }

  async #sweepNode(address: ProcessAddress): Promise<void> {
    const { catalog, mayHold, timers, log } = this.#options;
    const node = nodeName(address);
    let [looked, removed, kept] = [0, 0, 0];
    for (const { digest } of [...recordedAt(catalog, node)]) {
      if (++looked % SLICE === 0) await timers.sleep(0, { signal: this.#stop.signal });
      if (mayHold(digest)) continue;
      if (await this.#isElsewhere(digest)) {
        await this.#remove(digest, address);
        removed += 1;
      } else kept += 1;
    }
    if (removed > 0) log.info("removed what this site may not hold", { node, removed });
    if (kept > 0) log.error("this site holds the last copies of what it may not hold", { node, blobs: kept });
  }

  /** A node of another site says now that it has it. */
  async #isElsewhere(digest: Digest): Promise<boolean> {
    const { catalog, peers } = this.#options;
    for (const holder of catalog.holders(digest)) {
      const { site, process } = parseNodeName(holder) ?? { site: "", process: "" };
      const address = site === peers.topology.site ? undefined : peers.process(site, process);
      if (address === undefined) continue;
      const options = { timeoutMs: CALL_TIMEOUT_MS, signal: this.#stop.signal };
      const answer = peers.client(blobV1.BlobNodeService, address).stat({ digest }, options);
      if ((await answer.catch(() => undefined))?.present) return true;
    }
    return false;
  }

  async #remove(digest: Digest, address: ProcessAddress): Promise<void> {
    const { catalog, peers } = this.#options;
    const { signal } = this.#stop;
    // First nobody is sent here any more.
    await catalog.commit([{ kind: "blob-at-node", digest, node: nodeName(address), size: 0, state: "absent" }], {
      signal,
    });
    await peers.client(blobV1.BlobNodeService, address).delete({ digest }, { timeoutMs: CALL_TIMEOUT_MS, signal });
  }
}
