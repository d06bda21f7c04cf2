import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Catalog } from "@meridian/catalog";
import { type Membership, nodeName, type Peers, parseNodeName, Role, type Topology } from "@meridian/cluster";
import type { EventLogs } from "@meridian/eventlog";
import { ownStream, type ReaderReport } from "@meridian/link";
import type { Digest } from "@meridian/oci";
import type { Logger, Timers } from "@meridian/runtime";
import { blobV1, replicationV1 } from "@meridian/wire";
import { recordedAt } from "./recorded-blobs.ts";

/** What {@link DrainWatch} needs. */
export interface DrainWatchOptions {
  readonly topology: Topology;
  readonly membership: Membership;
  readonly peers: Peers;
  readonly catalog: Catalog;
  readonly logs: EventLogs;
  /** What each peer holds of this site's own log, as it last said. */
  readonly reports: () => ReadonlyMap<string, ReaderReport>;
  readonly timers: Timers;
  readonly log: Logger;
}

const SLICE = 200;
const ASK_AT_ONCE = 16;
const ASK_TIMEOUT_MS = 3_000;
const NAMED_DIGESTS = 20;

type Lone = { readonly digest: Digest; readonly size: number };

/** Finds out what would be lost with this site: blobs that no site which stays says it holds, and records that none copied. */
export class DrainWatch implements AsyncDisposable {
  readonly #options: DrainWatchOptions;
  readonly #stop = new AbortController();
  /** Blobs of which another site said that it holds them, by the node that said so. */
  readonly #confirmed = new Map<Digest, string>();
  #looking: Promise<MessageInitShape<typeof replicationV1.DrainResponseSchema>> | undefined;

  constructor(options: DrainWatchOptions) {
    this.#options = options;
  }

  /** Looks now; those who ask meanwhile share the look. @throws ContentError `unavailable` when the log cannot be read. */
  look(): Promise<MessageInitShape<typeof replicationV1.DrainResponseSchema>> {
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
    });
    return this.#looking;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#looking?.catch(() => undefined);
  }

  async #look(): Promise<MessageInitShape<typeof replicationV1.DrainResponseSchema>> {
    const lone = await this.#loneBlobs();
    return {
      blobs: BigInt(lone.length),
      bytes: lone.reduce((sum, { size }) => sum + BigInt(size), 0n),
      ...(await this.#logEnds()),
      digests: lone.slice(0, NAMED_DIGESTS).map(({ digest }) => digest),
    };
  }

  /** Records say where copies are; only the node itself can say that one is there. */
  async #loneBlobs(): Promise<Lone[]> {
    const { catalog, peers, topology, timers } = this.#options;
    const unknown = new Map<Digest, Lone>();
    let looked = 0;
    for (const address of peers.processes(Role.blobNode, topology.site)) {
      for (const blob of recordedAt(catalog, nodeName(address))) {
        if (++looked % SLICE === 0) await timers.sleep(0, { signal: this.#stop.signal });
        if (!this.#isConfirmed(blob.digest)) unknown.set(blob.digest, blob);
      }
    }
    const lone: Lone[] = [];
    const waiting = [...unknown.values()];
    const ask = async (): Promise<void> => {
      for (let blob = waiting.pop(); blob !== undefined; blob = waiting.pop())
        if (!(await this.#isElsewhere(blob.digest))) lone.push(blob);
    };
    await Promise.all(Array.from({ length: ASK_AT_ONCE }, ask));
    return lone;
  }

  #isConfirmed(digest: Digest): boolean {
    const node = this.#confirmed.get(digest);
    return node !== undefined && this.#stays(node) && this.#options.catalog.holders(digest).includes(node);
  }

  /** True for a node of another member that does not drain. */
  #stays(node: string): boolean {
    const { topology, membership } = this.#options;
    const site = parseNodeName(node)?.site ?? "";
    return site !== topology.site && topology.sites.includes(site) && !membership.isDraining(site);
  }

  async #isElsewhere(digest: Digest): Promise<boolean> {
    const { catalog, peers, log } = this.#options;
    for (const node of catalog.holders(digest).filter((holder) => this.#stays(holder))) {
      const { site, process } = parseNodeName(node)!;
      const address = peers.process(site, process);
      if (address === undefined) continue;
      try {
        const options = { timeoutMs: ASK_TIMEOUT_MS, signal: this.#stop.signal };
        const { present } = await peers
          .client(blobV1.BlobNodeService, address)
          .stat({ digest, verified: true }, options);
        if (!present) continue;
        this.#confirmed.set(digest, node);
        return true;
      } catch (error) {
        this.#stop.signal.throwIfAborted();
        log.debug("a node did not say whether it holds a blob", { node, digest, error });
      }
    }
    return false;
  }

  /** Where the own log ends, and up to where some member that stays has fsynced it. */
  async #logEnds(): Promise<{ head: bigint; copied: bigint }> {
    const { logs, peers, reports, topology, membership } = this.#options;
    const { incarnation, sequence } = await (await logs.open(ownStream(topology.site))).head();
    const staying = topology.sites.filter((site) => site !== topology.site && !membership.isDraining(site));
    const copied = staying.flatMap((site) => {
      const report = reports().get(site);
      return report?.copied?.incarnation.id === incarnation.id ? [report.copied.sequence] : [];
    });
    if (peers.processes(Role.replicator, topology.site).length > 1)
      copied.push(...(await Promise.all(staying.map((site) => this.#copiedAt(site, incarnation.id)))));
    return { head: BigInt(sequence), copied: BigInt(Math.max(0, ...copied)) };
  }

  /** What a member says itself: it may report to another replicator of this site. */
  async #copiedAt(site: string, incarnation: string): Promise<number> {
    const { peers, topology, log } = this.#options;
    const [address] = peers.processes(Role.replicator, site);
    if (address === undefined) return 0;
    try {
      const options = { timeoutMs: ASK_TIMEOUT_MS, signal: this.#stop.signal };
      const { links } = await peers.client(replicationV1.ReplicationService, address).progress({}, options);
      const copied = links.find(({ from }) => from === topology.site)?.copied;
      return copied?.incarnation === incarnation ? Number(copied.sequence) : 0;
    } catch (error) {
      this.#stop.signal.throwIfAborted();
      log.debug("a member did not say what it has copied", { site, error });
      return 0;
    }
  }
}
