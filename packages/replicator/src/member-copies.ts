import type { Membership, Topology } from "@meridian/cluster";
import type { EventLogs } from "@meridian/eventlog";
import { type Copier, type CopierStatus, leaveCopy } from "@meridian/link";
import type { Logger, Timers } from "@meridian/runtime";
import type { RecordAdopter } from "./record-links.ts";

/** What {@link MemberCopies} needs. */
export interface MemberCopiesOptions {
  readonly topology: Topology;
  readonly membership: Membership;
  /** Starts to copy a member's log. */
  readonly copy: (origin: string) => Copier;
  /** Told when a copy ends because its site is no member any more. */
  readonly left: (origin: string) => void;
  readonly logs: EventLogs;
  /** Absent: what only the copy of a former member holds stays there. */
  readonly adopter: RecordAdopter | undefined;
  readonly timers: Timers;
  readonly log: Logger;
}

/** How long the second site waits before it hands on the records of one that left, then the third …: what the first publishes the others need not. */
const LEAVE_STEP_MS = 3_000;
const LEAVE_RETRY_MS = 5_000;

/** One copier per member but this one, as members come and go; what the copies of former members hold is handed on. */
export class MemberCopies implements AsyncDisposable {
  readonly #options: MemberCopiesOptions;
  readonly #copiers = new Map<string, Copier>();
  readonly #stop = new AbortController();
  readonly #subscription: Disposable;
  /** Copies that end, and those of former members that are handed on. */
  readonly #ending = new Map<string, Promise<void>>();

  constructor(options: MemberCopiesOptions) {
    this.#options = options;
    this.#subscription = options.membership.subscribe(() => this.#takeMembers());
    this.#takeMembers();
    void this.#leaveAll();
  }

  /** How each member's log is copied. */
  get status(): readonly CopierStatus[] {
    return [...this.#copiers.values()].map((copier) => copier.status());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#subscription[Symbol.dispose]();
    this.#stop.abort();
    await Promise.all([...this.#copiers.values()].map((copier) => copier[Symbol.asyncDispose]()));
    await Promise.all(this.#ending.values());
  }

  #takeMembers(): void {
    if (this.#stop.signal.aborted) return;
    const { site, sites } = this.#options.topology;
    const others = sites.filter((member) => member !== site);
    for (const [origin, copier] of this.#copiers) {
      if (others.includes(origin)) continue;
      this.#copiers.delete(origin);
      this.#options.left(origin);
      this.#end(origin, () => copier[Symbol.asyncDispose]());
    }
    for (const origin of others) if (!this.#copiers.has(origin)) this.#begin(origin);
  }

  /** A site that comes back at once waits for the end of its former copy. */
  #begin(origin: string): void {
    const ending = this.#ending.get(origin);
    if (ending === undefined) this.#copiers.set(origin, this.#options.copy(origin));
    else void ending.then(() => this.#takeMembers());
  }

  #end(origin: string, stop: () => PromiseLike<void>): void {
    const ended = Promise.resolve(stop())
      .then(() => this.#leave(origin))
      .finally(() => this.#ending.delete(origin));
    this.#ending.set(origin, ended);
  }

  /** Copies of sites that left while this process did not do the work. */
  async #leaveAll(): Promise<void> {
    const { logs, log, membership } = this.#options;
    try {
      const origins = (await logs.streams()).flatMap((stream) => /^(?:FROM|OLD)_(.+)$/.exec(stream)?.[1] ?? []);
      for (const origin of new Set(origins))
        if (membership.hasLeft(origin) && !this.#ending.has(origin)) this.#end(origin, async () => {});
    } catch (error) {
      log.warn("copies of former members could not be looked for", { error });
    }
  }

  /** Publishes what only the copy of a former member holds, and drops it; tried until it is done. */
  async #leave(origin: string): Promise<void> {
    const { adopter, logs, timers, log, topology, membership } = this.#options;
    const { signal } = this.#stop;
    const turn = topology.sites.indexOf(topology.site);
    for (let waitMs = turn * LEAVE_STEP_MS; adopter !== undefined; waitMs = LEAVE_RETRY_MS) {
      await timers.sleep(waitMs, { signal }).catch(() => undefined);
      if (signal.aborted || !membership.hasLeft(origin)) return;
      try {
        const hand = (payloads: readonly Uint8Array[]) => adopter.adopt(origin, payloads, { left: true });
        if (await leaveCopy(logs, origin, hand)) log.info("the log of a former member is no longer kept", { origin });
        return;
      } catch (error) {
        if (!signal.aborted) log.warn("the copy of a former member could not be handed on yet", { origin, error });
      }
    }
  }
}
