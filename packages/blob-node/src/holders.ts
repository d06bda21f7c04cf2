import type { SiteHealth, SiteMonitor } from "@meridian/cluster";
import type { Digest } from "@meridian/oci";
import type { NodeBytes, ReadOptions, ServedBlob } from "@meridian/transfer";
import type { Quarantine } from "./quarantine.ts";

/** What {@link Holders} needs. */
export interface HoldersOptions {
  /** This node, as site/process. */
  readonly self: string;
  /** The bytes of another node; undefined when it is not known. */
  readonly bytesOf: (node: string) => NodeBytes | undefined;
  readonly quarantine: Quarantine;
  readonly monitor?: Pick<SiteMonitor, "health" | "report">;
  readonly stallTimeoutMs: number;
}

const RANK: Readonly<Record<SiteHealth["state"], number>> = { live: 0, unknown: 1, suspect: 1, down: 2 };
const DOWN_TIMEOUT_MS = 200;

/** Which holders of a blob to ask, in what order, and what they are thought of. */
export class Holders {
  readonly #options: HoldersOptions;

  constructor(options: HoldersOptions) {
    this.#options = options;
  }

  /** Those that can be asked, in the given order but healthy ones first; never this node itself. */
  usable(digest: Digest, holders: readonly string[]): readonly string[] {
    const { self, bytesOf, quarantine } = this.#options;
    return holders
      .filter((node) => node !== self && !quarantine.has(node, digest) && bytesOf(node) !== undefined)
      .sort((a, b) => RANK[this.#state(a)] - RANK[this.#state(b)]);
  }

  /** Whether it is of this node's own site: no link is crossed. */
  isNear(node: string): boolean {
    return siteOf(node) === siteOf(this.#options.self);
  }

  /** Asks one holder for what is in its own store. */
  async open(node: string, digest: Digest, options: Omit<ReadOptions, "holders">): Promise<ServedBlob | undefined> {
    return this.#options.bytesOf(node)?.open(digest, { ...options, holders: [] });
  }

  /** How long one may be silent, in milliseconds: hardly at all when it is believed to be down. */
  stallTimeoutMs(node: string): number {
    const { stallTimeoutMs } = this.#options;
    return this.#state(node) === "down" ? Math.min(DOWN_TIMEOUT_MS, stallTimeoutMs) : stallTimeoutMs;
  }

  /** Tells the monitor what a real transfer saw. */
  report(node: string, outcome: "ok" | "failed"): void {
    if (!this.isNear(node)) this.#options.monitor?.report(siteOf(node), outcome);
  }

  #state(node: string): SiteHealth["state"] {
    const { monitor } = this.#options;
    return monitor === undefined || this.isNear(node) ? "live" : monitor.health(siteOf(node)).state;
  }
}

/** The site in a node's name. */
export function siteOf(node: string): string {
  return node.slice(0, node.indexOf("/"));
}
