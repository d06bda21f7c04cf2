import type { MessageInitShape } from "@bufbuild/protobuf";
import { isLinkOpen, nodeName, type Peers, Role } from "@meridian/cluster";
import type { CopierStatus } from "@meridian/link";
import type { Clock, Logger, Timers } from "@meridian/runtime";
import { blobV1, type replicationV1 } from "@meridian/wire";
import type { RunningFetch } from "./blob-fetcher.ts";
import type { ReplicatorConfig } from "./config.ts";
import { LinkRates } from "./link-rates.ts";
import { RecordLag } from "./record-lag.ts";
import type { WantedBlob } from "./wanted-blob.ts";

/** What {@link ReplicationProgress} needs. */
export interface ReplicationProgressOptions {
  readonly config: Pick<ReplicatorConfig, "links">;
  readonly peers: Peers;
  readonly wanted: { all(): Iterable<WantedBlob> };
  readonly fetches: () => readonly RunningFetch[];
  readonly copies: () => readonly CopierStatus[];
  readonly scanned: () => boolean;
  /** See RecordLinks. */
  readonly joined: () => boolean;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
}

/** One link into this site. */
export interface LinkState {
  readonly from: string;
  readonly blobs: number;
  readonly bytes: number;
  readonly fetching: number;
  readonly bytesPerSecond: number;
  readonly oldestMs: number;
  readonly open: boolean;
  readonly records: number;
  readonly recordLagMs: number;
}

const SAMPLE_EVERY_MS = 2_000;
const STATUS_TIMEOUT_MS = 1_000;
const MAX_POISONED = 100;

/** Up to where a site's log is copied, as it goes over the wire; nothing while nothing of it is. */
function copiedLog(copies: readonly CopierStatus[], from: string) {
  const copied = copies.find(({ origin }) => origin === from)?.copied;
  if (copied === undefined) return {};
  const { incarnation, sequence } = copied;
  return { copied: { created: incarnation.created, incarnation: incarnation.id, sequence: BigInt(sequence) } };
}

/** How far replication into this site has come, and how fast it goes on. */
export class ReplicationProgress implements Disposable {
  readonly #options: ReplicationProgressOptions;
  readonly #rates: LinkRates;
  readonly #lag: RecordLag;
  readonly #sampling: Disposable;
  /** Digest → bytes that have come of it, as its node said last. */
  #received = new Map<string, number>();

  constructor(options: ReplicationProgressOptions) {
    this.#options = options;
    this.#rates = new LinkRates(options.clock);
    this.#lag = new RecordLag(options.clock);
    this.#sampling = options.timers.every(SAMPLE_EVERY_MS, () => void this.#sample());
  }

  /** A blob has landed: bytes that crossed for it. */
  landed(from: string, bytes: number): void {
    this.#rates.landed(from, bytes);
  }

  /** Every link; of the blobs only those that a repository shows, when one is named. */
  links(repository = ""): LinkState[] {
    const { config, clock } = this.#options;
    const now = clock.monotonic();
    const waiting = Map.groupBy(this.#wanted(repository), ({ source }) => source ?? "");
    const fetching = new Set(this.#options.fetches().map(({ digest }) => digest));
    return this.#others().map((from) => {
      const blobs = waiting.get(from) ?? [];
      const lag = this.#lag.of(from);
      return {
        from,
        blobs: blobs.length,
        bytes: blobs.reduce((sum, { digest, size }) => sum + Math.max(0, size - (this.#received.get(digest) ?? 0)), 0),
        fetching: blobs.filter(({ digest }) => fetching.has(digest)).length,
        bytesPerSecond: Math.round(this.#rates.of(from)),
        oldestMs: blobs.reduce((oldest, { since }) => Math.max(oldest, Math.round(now - since)), 0),
        open: isLinkOpen(config.links, from, clock.now()),
        records: lag.records,
        recordLagMs: lag.ms,
      };
    });
  }

  /** As it goes over the wire. */
  report(repository: string): MessageInitShape<typeof replicationV1.ProgressResponseSchema> {
    const wanted = [...this.#wanted(repository)];
    return {
      joined: this.#options.joined(),
      links: this.links(repository).map((link) => ({
        ...copiedLog(this.#options.copies(), link.from),
        from: link.from,
        blobs: BigInt(link.blobs),
        bytes: BigInt(link.bytes),
        fetching: BigInt(link.fetching),
        bytesPerSecond: BigInt(link.bytesPerSecond),
        oldestMs: BigInt(link.oldestMs),
        open: link.open,
        records: BigInt(link.records),
        recordLagMs: BigInt(link.recordLagMs),
      })),
      homeless: BigInt(wanted.filter(({ state }) => state === "homeless").length),
      poisoned: wanted
        .filter(({ state }) => state === "poisoned")
        .slice(0, MAX_POISONED)
        .map(({ digest }) => digest),
      scanned: this.#options.scanned(),
    };
  }

  [Symbol.dispose](): void {
    this.#sampling[Symbol.dispose]();
  }

  *#wanted(repository: string): Iterable<WantedBlob> {
    for (const blob of this.#options.wanted.all())
      if (repository === "" || blob.repositories.has(repository)) yield blob;
  }

  #others(): string[] {
    const { site, sites } = this.#options.peers.topology;
    return sites.filter((other) => other !== site);
  }

  async #sample(): Promise<void> {
    this.#lag.look(this.#options.copies());
    const fetches = this.#options.fetches();
    const received = fetches.length === 0 ? new Map<string, number>() : await this.#ask();
    this.#received = received;
    const underWay = new Map<string, number>();
    for (const { digest, from } of fetches) underWay.set(from, (underWay.get(from) ?? 0) + (received.get(digest) ?? 0));
    this.#rates.sample(underWay);
  }

  /** What this site's nodes have of the blobs that they fetch. */
  async #ask(): Promise<Map<string, number>> {
    const { peers, log } = this.#options;
    const nodes = peers.processes(Role.blobNode, peers.topology.site);
    const answers = await Promise.all(
      nodes.map(async (node) => {
        try {
          const { transfers } = await peers
            .client(blobV1.BlobNodeService, node)
            .status({}, { timeoutMs: STATUS_TIMEOUT_MS });
          return transfers;
        } catch (error) {
          log.debug("a blob node did not say what it fetches", { node: nodeName(node), error });
          return [];
        }
      }),
    );
    return new Map(answers.flat().map(({ digest, received }) => [digest, Number(received)]));
  }
}
