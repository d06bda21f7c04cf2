import type { Digest } from "@meridian/oci";
import type { Clock, Logger, Timers } from "@meridian/runtime";
import { nodeV1 } from "@meridian/wire";
import type { Peers } from "./peers.ts";
import { type PlacedNode, placementOrder } from "./placement.ts";
import { nodeName, type ProcessAddress, Role } from "./topology.ts";

/** `active`: answers and takes bytes; `draining`: answers and takes none; `away`: does not answer. */
export type NodeState = "active" | "draining" | "away";

/** What is known of this site's blob nodes. */
export interface NodeWatch extends Disposable {
  /** `active` until something else is known. */
  state(node: string): NodeState;
  /** Milliseconds since it last answered; 0 unless it is away. */
  awayForMs(node: string): number;
  /** The nodes that may keep copies, wherever they are: all that are not being drained. */
  keepers(): readonly PlacedNode[];
  /** The nodes that may take a digest's bytes now, in the order in which they should: those that are away come last. */
  takers(digest: Digest): readonly string[];
  /** Calls `listener` whenever a node's state changes, and when one appears, until disposed. */
  subscribe(listener: (node: string, state: NodeState) => void): Disposable;
}

export interface NodeWatchOptions {
  readonly peers: Peers;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
  /** Milliseconds between two questions to a node. Default 1 000. */
  readonly intervalMs?: number;
}

const DEADLINE_MS = 1_000;
/** One lost answer is no death. */
const FAILURES_OF_AWAY = 2;

interface Watched {
  failures: number;
  draining: boolean;
  answeredAt: number;
  asking: boolean;
}

/** The nodes of one table, by what can be asked of them. */
interface Standing {
  readonly of: readonly ProcessAddress[];
  readonly keepers: readonly PlacedNode[];
  readonly answering: readonly PlacedNode[];
  readonly away: readonly PlacedNode[];
}

/** Asks each blob node of this site how it is, once a second: one that dies is away within 3 s. */
export function createNodeWatch(options: NodeWatchOptions): NodeWatch {
  return new PollingNodeWatch(options);
}

class PollingNodeWatch implements NodeWatch {
  readonly #options: NodeWatchOptions;
  readonly #nodes = new Map<string, Watched>();
  readonly #listeners = new Set<(node: string, state: NodeState) => void>();
  readonly #stop = new AbortController();
  #known: Standing | undefined;
  readonly #asking: Disposable;

  constructor(options: NodeWatchOptions) {
    this.#options = options;
    this.#asking = options.timers.every(options.intervalMs ?? 1_000, () => this.#askAll());
    this.#askAll();
  }

  state(node: string): NodeState {
    const known = this.#nodes.get(node);
    if (known === undefined) return "active";
    if (known.failures >= FAILURES_OF_AWAY) return "away";
    return known.draining ? "draining" : "active";
  }

  awayForMs(node: string): number {
    const known = this.#nodes.get(node);
    if (known === undefined || known.failures < FAILURES_OF_AWAY) return 0;
    return this.#options.clock.monotonic() - known.answeredAt;
  }

  keepers(): readonly PlacedNode[] {
    return this.#standing().keepers;
  }

  takers(digest: Digest): readonly string[] {
    const { answering, away } = this.#standing();
    const order = placementOrder(digest, answering);
    return away.length === 0 ? order : [...order, ...placementOrder(digest, away)];
  }

  /** Asked at every push and pull: worked out again only when something changed. */
  #standing(): Standing {
    const { processes } = this.#options.peers.topology;
    if (this.#known?.of === processes) return this.#known;
    const keepers = this.#addresses()
      .map((address) => ({ node: nodeName(address), zone: address.zone }))
      .filter(({ node }) => this.#nodes.get(node)?.draining !== true);
    const isAway = ({ node }: PlacedNode): boolean => this.state(node) === "away";
    this.#known = {
      of: processes,
      keepers,
      answering: keepers.filter((node) => !isAway(node)),
      away: keepers.filter(isAway),
    };
    return this.#known;
  }

  subscribe(listener: (node: string, state: NodeState) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  [Symbol.dispose](): void {
    this.#asking[Symbol.dispose]();
    this.#stop.abort();
  }

  #addresses(): readonly ProcessAddress[] {
    const { peers } = this.#options;
    return peers.processes(Role.blobNode, peers.topology.site);
  }

  #askAll(): void {
    const listed = new Map(this.#addresses().map((address) => [nodeName(address), address]));
    for (const node of this.#nodes.keys()) if (!listed.has(node)) this.#nodes.delete(node);
    for (const [node, address] of listed) {
      const isNew = !this.#nodes.has(node);
      const answeredAt = this.#options.clock.monotonic();
      const watched = this.#nodes.get(node) ?? { failures: 0, draining: false, answeredAt, asking: false };
      this.#nodes.set(node, watched);
      if (isNew) this.#tell(node, "active");
      if (!watched.asking) void this.#ask(node, address, watched);
    }
  }

  async #ask(node: string, address: ProcessAddress, watched: Watched): Promise<void> {
    const { peers, clock, log } = this.#options;
    const before = this.state(node);
    watched.asking = true;
    try {
      const options = { timeoutMs: DEADLINE_MS, signal: this.#stop.signal };
      const { draining } = await peers.client(nodeV1.NodeService, address).state({}, options);
      watched.failures = 0;
      watched.draining = draining;
      watched.answeredAt = clock.monotonic();
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      watched.failures += 1;
      if (watched.failures === FAILURES_OF_AWAY) log.warn("a blob node of this site does not answer", { node, error });
    } finally {
      watched.asking = false;
    }
    this.#known = undefined;
    const state = this.state(node);
    if (state === before || this.#nodes.get(node) !== watched) return;
    if (before === "away") log.info("a blob node of this site answers again", { node, state });
    this.#tell(node, state);
  }

  #tell(node: string, state: NodeState): void {
    this.#known = undefined;
    for (const listener of this.#listeners) listener(node, state);
  }
}
