import type { Bulletin } from "@meridian/eventlog";
import { isContentError } from "@meridian/oci";
import type { Clock, Logger, Random, Timers } from "@meridian/runtime";
import { type Announcement, decodeAnnouncement, encodeAnnouncement } from "./announcement.ts";
import type { FoldExchange } from "./fold-exchange.ts";
import type { Positions } from "./positions.ts";
import type { Position } from "./version-token.ts";

/** A gateway says something at least this often, in milliseconds. */
const HEARTBEAT_MS = 250;
/** A gateway that has not heard itself for this long is out: it may no longer be waited for. */
const LEASE_MS = 1_000;
/** Writers leave out a gateway that was silent for this long: longer than its lease, whatever the messages' delay. */
const SILENT_MS = 1_500;
/** A starting gateway listens for this long before it concludes who is there. */
const LISTEN_MS = 2 * HEARTBEAT_MS;

export interface BulletinExchangeOptions {
  readonly site: string;
  readonly process: string;
  /** False for a process that writes but serves no reads: it waits for the gateways and is not waited for. */
  readonly serving: boolean;
  readonly bulletin: Bulletin;
  readonly positions: Positions;
  /** True once the process's own fold has read all that was there at its start. */
  readonly caughtUp: () => boolean;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly log: Logger;
}

interface Member {
  readonly said: Announcement;
  readonly heardAt: number;
  /** The member's own position when it first listed this process: to be folded before this process is ready. */
  readonly listedAt?: Position;
}

/** The exchange over the site's bulletin. Begins at once. */
export class BulletinExchange implements FoldExchange {
  readonly #options: BulletinExchangeOptions;
  readonly #instance: string;
  readonly #subject: string;
  readonly #members = new Map<string, Member>();
  readonly #stopping = new AbortController();
  readonly #listening: Promise<void>;
  readonly #ticking: Disposable;
  #state: Announcement["state"] = "starting";
  /** When this process was first heard by itself since it began to listen. */
  #heardSince: number | undefined;
  #leaseUntil = Number.NEGATIVE_INFINITY;
  #saying = false;

  constructor(options: BulletinExchangeOptions) {
    this.#options = options;
    this.#instance = Buffer.from(options.random.bytes(12)).toString("hex");
    this.#subject = `fold.${options.site}`;
    this.#listening = this.#listen();
    this.#ticking = options.timers.every(HEARTBEAT_MS, () => this.#tick());
    this.#say();
  }

  get confirmed(): boolean {
    if (!this.#options.serving) {
      return true;
    }
    return this.#state === "live" && this.#options.clock.monotonic() < this.#leaseUntil;
  }

  moved(): void {
    if (this.#state !== "live") {
      this.#advance();
    }
    if (!this.#saying) {
      this.#saying = true;
      queueMicrotask(() => {
        this.#saying = false;
        this.#say();
      });
    }
  }

  async untilFolded(position: Position, signal: AbortSignal): Promise<void> {
    const { positions, site } = this.#options;
    const message = `not every gateway of site ${site} has shown the write in time`;
    await positions.until(() => this.#live().every((member) => this.#hasFolded(member, position)), message, signal);
  }

  othersFolded(origin: string): ReadonlyArray<Position | undefined> {
    return this.#live().map(({ said }) => said.folded.get(origin));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#stopping.signal.aborted) {
      return;
    }
    this.#state = "leaving";
    this.#say();
    this.#ticking[Symbol.dispose]();
    this.#stopping.abort();
    await this.#listening;
  }

  #hasFolded({ said }: Member, { incarnation, sequence }: Position): boolean {
    const folded = said.folded.get(this.#options.site);
    return folded?.incarnation.id === incarnation.id && folded.sequence >= sequence;
  }

  /** The members that writers wait for. */
  #live(): Member[] {
    const now = this.#options.clock.monotonic();
    return [...this.#members.values()].filter(({ heardAt }) => now - heardAt < SILENT_MS);
  }

  #tick(): void {
    const now = this.#options.clock.monotonic();
    for (const [instance, { said, heardAt }] of this.#members) {
      if (now - heardAt >= SILENT_MS) {
        this.#members.delete(instance);
        this.#options.log.warn("a gateway of this site fell silent", { process: said.process });
      }
    }
    if (this.#state === "live" && now >= this.#leaseUntil) {
      this.#options.log.warn("cut off from the other gateways of this site: not ready", {});
      this.#state = "starting";
      this.#heardSince = undefined;
    }
    this.#advance();
    this.#say();
    // Who waits may wait for one that fell silent.
    this.#options.positions.wake();
  }

  /** Starting becomes live: all who are there have listed this process, and what they had folded by then is folded here. */
  #advance(): void {
    const { caughtUp, clock, serving } = this.#options;
    const listened = this.#heardSince !== undefined && clock.monotonic() - this.#heardSince >= LISTEN_MS;
    if (!serving || this.#state !== "starting" || !listened || !caughtUp()) {
      return;
    }
    if (this.#live().every((member) => this.#hasCaughtUpWith(member))) {
      this.#state = "live";
      this.#options.positions.wake();
    }
  }

  #hasCaughtUpWith({ said, listedAt }: Member): boolean {
    if (!said.lists.includes(this.#instance)) {
      return false;
    }
    const { positions, site } = this.#options;
    const shown = positions.get(site);
    return listedAt === undefined || (shown !== undefined && shown.sequence >= listedAt.sequence);
  }

  #say(): void {
    const { bulletin, clock, log, positions, process, serving } = this.#options;
    if (!serving || this.#stopping.signal.aborted) {
      return;
    }
    const said: Announcement = {
      process,
      instance: this.#instance,
      state: this.#state,
      saidAt: clock.monotonic(),
      folded: positions.all(),
      lists: [...this.#members.keys()],
    };
    try {
      bulletin.publish(this.#subject, encodeAnnouncement(said));
    } catch (error) {
      log.debug("could not tell the other gateways", { error });
    }
  }

  async #listen(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      try {
        for await (const payload of this.#options.bulletin.subscribe(this.#subject, { signal })) {
          this.#hear(payload);
        }
      } catch (error) {
        this.#options.log.debug("lost the bulletin of this site", { error });
      }
      await this.#options.timers.sleep(HEARTBEAT_MS, { signal }).catch(() => {});
    }
  }

  #hear(payload: Uint8Array): void {
    let said: Announcement;
    try {
      said = decodeAnnouncement(payload);
    } catch (error) {
      if (!isContentError(error, "invalid")) {
        throw error;
      }
      this.#options.log.warn("an announcement that cannot be read", { error });
      return;
    }
    if (said.instance === this.#instance) {
      this.#hearSelf(said);
    } else {
      this.#hearOther(said);
    }
  }

  #hearSelf({ saidAt }: Announcement): void {
    this.#heardSince ??= this.#options.clock.monotonic();
    this.#leaseUntil = Math.max(this.#leaseUntil, saidAt + LEASE_MS);
    this.#advance();
  }

  #hearOther(said: Announcement): void {
    const known = this.#members.get(said.instance);
    for (const [instance, member] of this.#members) {
      if (instance === said.instance ? said.state === "leaving" : member.said.process === said.process) {
        this.#members.delete(instance);
      }
    }
    if (said.state !== "leaving") {
      const listed = said.lists.includes(this.#instance);
      const listedAt = known?.listedAt ?? (listed ? said.folded.get(this.#options.site) : undefined);
      this.#members.set(said.instance, { said, heardAt: this.#options.clock.monotonic(), listedAt });
      if (known === undefined) {
        // The newcomer waits to be listed by all.
        this.#say();
      }
    }
    this.#advance();
    this.#options.positions.wake();
  }
}
