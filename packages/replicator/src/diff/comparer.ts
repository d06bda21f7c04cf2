import { type Catalog, hlcTime } from "@meridian/catalog";
import { nodeName, type Peers, type ProcessAddress, Role } from "@meridian/cluster";
import { ContentError } from "@meridian/oci";
import type { Clock, Logger, Timers } from "@meridian/runtime";
import { diffV1 } from "@meridian/wire";
import { compareBlobs } from "./compare-blobs.ts";
import { compareViews } from "./compare-views.ts";
import { Comparison, type ComparisonMessage } from "./comparison.ts";
import type { Inventory } from "./inventory.ts";
import type { ComparisonTelemetry } from "./telemetry.ts";

/** What {@link Comparer} needs. */
export interface ComparerOptions {
  readonly catalog: Catalog;
  readonly peers: Peers;
  readonly inventory: Inventory;
  /** From the end of one round with all other sites to the next, milliseconds; 0: only when told to. */
  readonly everyMs: number;
  /** Whether what these rounds find is repaired at once. */
  readonly repairs: boolean;
  /** Deletions older than this may have been dropped, milliseconds. */
  readonly retireAfterMs: number;
  readonly telemetry: ComparisonTelemetry;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
}

/** Deletions that are dropped while sites are compared count for nothing before they are. */
const RETIRE_SLACK_MS = 3_600_000;

/**
 * Compares this site with others, one at a time: when told to, and from time to time with those that the configuration
 * names after it, so that each pair is compared once. Only the replicator
 * of a site that does its work does.
 */
export class Comparer implements AsyncDisposable {
  readonly #options: ComparerOptions;
  readonly #stop = new AbortController();
  readonly #last = new Map<string, Comparison>();
  #running: { readonly comparison: Comparison; readonly done: Promise<void> } | undefined;
  #timer: Disposable | undefined;
  #round: Promise<void> | undefined;

  constructor(options: ComparerOptions) {
    this.#options = options;
    this.#schedule();
  }

  /** The comparison with the site that is under way, or else the last; undefined when there was none since the start. */
  show(other: string): ComparisonMessage | undefined {
    return this.#last.get(other)?.message();
  }

  /**
   * Begins to compare with the site.
   * @throws ContentError `precondition` while another comparison is under way; `not-found`
   * for a site that is none of the others.
   */
  begin(other: string, { repair }: { readonly repair: boolean }): ComparisonMessage {
    const { clock, peers } = this.#options;
    const { site, sites } = peers.topology;
    if (other === site || !sites.includes(other)) throw new ContentError("not-found", `${other} is no other site`);
    if (this.#running !== undefined || this.#stop.signal.aborted)
      throw new ContentError("precondition", `${site} compares itself with ${this.#running?.comparison.other} now`);
    const comparison = new Comparison({ site, other, repair, startedAt: clock.now() });
    this.#last.set(other, comparison);
    const done = this.#run(comparison).finally(() => (this.#running = undefined));
    this.#running = { comparison, done };
    return comparison.message();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#timer?.[Symbol.dispose]();
    this.#stop.abort();
    await Promise.all([this.#running?.done, this.#round]);
  }

  #schedule(): void {
    const { everyMs, timers } = this.#options;
    if (everyMs === 0 || this.#stop.signal.aborted) return;
    this.#timer = timers.after(everyMs, () => {
      this.#round = this.#compareAll().finally(() => this.#schedule());
    });
  }

  async #compareAll(): Promise<void> {
    const { site, sites } = this.#options.peers.topology;
    for (const other of sites.slice(sites.indexOf(site) + 1)) {
      await this.#running?.done;
      if (this.#stop.signal.aborted) return;
      if (this.#running === undefined) this.begin(other, { repair: this.#options.repairs });
      await this.#running?.done;
    }
  }

  /** Never rejects. */
  async #run(comparison: Comparison): Promise<void> {
    const { clock, log, telemetry, timers } = this.#options;
    const { signal } = this.#stop;
    const failures: string[] = [];
    const attempt = async (step: () => Promise<void>): Promise<void> => {
      try {
        signal.throwIfAborted();
        await step();
      } catch (error) {
        failures.push(error instanceof Error ? error.message : String(error));
      }
    };
    await timers.sleep(0, { signal }).catch(() => undefined);
    for (const address of this.#views(comparison.other)) await attempt(() => this.#compareWith(address, comparison));
    await attempt(() => this.#compareBlobs(comparison));
    if (comparison.cutShort) failures.push("more differs than is looked at in one go: compare again after a repair");
    comparison.failure = failures.join("; ");
    comparison.phase = "";
    comparison.finishedAt = clock.now();
    telemetry.compared(comparison);
    if (!signal.aborted) tell(comparison, log);
  }

  /** Processes that have a view: this site's others, and the other site's. */
  #views(other: string): ProcessAddress[] {
    const { site, process, processes } = this.#options.peers.topology;
    return processes
      .filter(({ roles }) => roles.includes(Role.gateway) || roles.includes(Role.replicator))
      .filter((one) => one.site === other || (one.site === site && one.process !== process));
  }

  async #compareWith(address: ProcessAddress, comparison: Comparison): Promise<void> {
    const { catalog, clock, peers, retireAfterMs, timers } = this.#options;
    const { site, process } = peers.topology;
    const slackMs = Math.min(RETIRE_SLACK_MS, retireAfterMs / 2);
    const own = this.#nameOf({ site, process });
    const other = this.#nameOf(address);
    try {
      await compareViews({
        catalog,
        client: peers.client(diffV1.ViewDiffService, address),
        names: { own, other },
        before: hlcTime(Math.max(0, clock.now() - retireAfterMs + slackMs)),
        comparison,
        timers,
        signal: this.#stop.signal,
      });
    } catch (cause) {
      throw new ContentError("unavailable", `${other}: ${reasonOf(cause)}`, { cause });
    }
  }

  async #compareBlobs(comparison: Comparison): Promise<void> {
    const { inventory, peers, timers } = this.#options;
    const { other } = comparison;
    const [address] = peers.processes(Role.replicator, other);
    if (address === undefined) throw new ContentError("unavailable", `${other} has no replicator`);
    const client = peers.client(diffV1.BlobDiffService, address);
    await compareBlobs({ inventory, client, comparison, timers, signal: this.#stop.signal });
  }

  /** A site that is one process goes by its own name. */
  #nameOf(address: { readonly site: string; readonly process: string }): string {
    const { processes } = this.#options.peers.topology;
    return processes.filter(({ site }) => site === address.site).length === 1 ? address.site : nodeName(address);
  }
}

function tell(comparison: Comparison, log: Logger): void {
  const { other, failure, underWay, registers, blobs, messages } = comparison;
  const fields = { other, registers, blobs, messages, underWay };
  if (failure !== "") log.warn("this site could not be compared with another one", { ...fields, reason: failure });
  const [found, repaired] = [comparison.foundCount, comparison.repairedCount];
  if (found > 0) {
    const message = "this site and another one do not hold the same";
    log.error(message, { event: "diff.found", ...fields, found, repaired, examples: comparison.examples() });
  } else if (failure === "") log.info("this site holds the same as another one", fields);
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
