import { isContentError } from "@meridian/oci";
import type { Clock, Logger, Timers } from "@meridian/runtime";
import type { EventLog, EventLogs } from "./event-log.ts";

/**
 * Leases of a site's processes, in a stream of their own that no other site copies:
 *
 *     LEASES    LEASES.<name>    {"holder": "replicator-1"}, once a second while it is held; "" when it was given back
 */
const STREAM = "LEASES";

/** The holder says so this often, in milliseconds. */
const RENEW_MS = 1_000;
/** A holder that could not say so for this long has lost it, in milliseconds: before anybody else may take it. */
const FENCED_AFTER_MS = 2_000;
/** A lease of which nothing was heard for this long may be taken by another process, in milliseconds. */
const FREE_AFTER_MS = 3_000;
/** Others look this often, in milliseconds. */
const LOOK_MS = 500;
const FENCE_LOOK_MS = 100;

/** What {@link contendForLease} needs. */
export interface LeaseOptions {
  readonly logs: EventLogs;
  /** What the lease is for: letters, digits and hyphens. */
  readonly name: string;
  /** This process: unique inside the site. */
  readonly holder: string;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
}

/** A lease that this process holds, or waits for. Disposing it gives it back, so that another may have it at once. */
export interface Lease extends AsyncDisposable {
  /** True while this process holds it: no other one does. */
  readonly held: boolean;
  /** Who said last that it holds it, as far as this process knows; undefined when nobody does. */
  readonly holder: string | undefined;
  /** Calls `listener` whenever `held` has changed, until disposed. */
  onChanged(listener: () => void): Disposable;
}

/**
 * Takes a lease as soon as nobody holds it, and keeps it until disposed. Each process measures with its own monotonic
 * clock how long it has heard nothing of the holder, so that wrong clocks do not matter; two that take it at once are told
 * apart by the log's compare-and-set. A holder that was stopped for longer than the lease may act for the moment that
 * it takes to notice: what it does has to be safe for that long.
 */
export function contendForLease(options: LeaseOptions): Lease {
  return new ContendedLease(options);
}

class ContendedLease implements Lease {
  readonly #options: LeaseOptions;
  readonly #subject: string;
  readonly #stop = new AbortController();
  readonly #listeners = new Set<() => void>();
  readonly #fence: Disposable;
  readonly #running: Promise<void>;
  #held = false;
  #renewedAt = 0;
  /** The last entry that was seen, and when it was seen first. */
  #seen: { readonly sequence: number; readonly holder: string; readonly at: number };
  #failing = false;

  constructor(options: LeaseOptions) {
    this.#options = options;
    this.#subject = `${STREAM}.${options.name}`;
    this.#seen = { sequence: -1, holder: "", at: options.clock.monotonic() };
    this.#fence = options.timers.every(FENCE_LOOK_MS, () => this.#requireRenewed());
    this.#running = this.#run();
  }

  get held(): boolean {
    this.#requireRenewed();
    return this.#held;
  }

  get holder(): string | undefined {
    return this.#seen.holder === "" ? undefined : this.#seen.holder;
  }

  onChanged(listener: () => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#fence[Symbol.dispose]();
    await this.#running;
    const { sequence } = this.#seen;
    if (!this.#held) return;
    this.#change(false);
    try {
      await this.#write(await this.#open(), "", sequence);
    } catch (error) {
      this.#options.log.debug("a lease could not be given back: it runs out", { lease: this.#options.name, error });
    }
  }

  async #run(): Promise<void> {
    const { log, name, timers } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      try {
        await this.#turn(await this.#open());
        this.#failing = false;
      } catch (error) {
        if (!this.#failing && !signal.aborted) log.warn("a lease cannot be asked for now", { lease: name, error });
        this.#failing = true;
      }
      await timers.sleep(this.#held ? RENEW_MS : LOOK_MS, { signal }).catch(() => {});
    }
  }

  #open(): Promise<EventLog> {
    return this.#options.logs.open(STREAM, { sessions: false });
  }

  /** One look, and a write where there is a reason for one. */
  async #turn(log: EventLog): Promise<void> {
    const { clock, holder } = this.#options;
    const last = await log.last(this.#subject);
    const now = clock.monotonic();
    const sequence = last?.sequence ?? 0;
    if (sequence !== this.#seen.sequence) {
      // Somebody else wrote: whoever that was has it now.
      this.#change(false);
      this.#seen = { sequence, holder: last === undefined ? "" : holderIn(last.payload), at: now };
    }
    // A process that was killed, and is there again, finds its own name.
    const isFree = this.#seen.holder === "" || this.#seen.holder === holder || now - this.#seen.at >= FREE_AFTER_MS;
    if (!this.#held && !isFree) return;
    try {
      await this.#write(log, holder, sequence);
      this.#renewedAt = now;
      this.#change(!this.#stop.signal.aborted && clock.monotonic() - now < FENCED_AFTER_MS);
    } catch (error) {
      if (!isContentError(error, "conflict")) throw error;
      this.#change(false);
    }
  }

  async #write(log: EventLog, holder: string, expected: number): Promise<void> {
    const { clock } = this.#options;
    const payload = Buffer.from(JSON.stringify({ holder }));
    const sequence = await log.append({ subject: this.#subject, payload }, { expectedLastSubjectSequence: expected });
    this.#seen = { sequence, holder, at: clock.monotonic() };
  }

  #requireRenewed(): void {
    if (this.#held && this.#options.clock.monotonic() - this.#renewedAt >= FENCED_AFTER_MS) this.#change(false);
  }

  #change(held: boolean): void {
    if (held === this.#held) return;
    this.#held = held;
    this.#options.log.info(held ? "took a lease" : "lost a lease", { lease: this.#options.name });
    for (const listener of [...this.#listeners]) listener();
  }
}

/** Empty for what nobody can read: then it runs out. */
function holderIn(payload: Uint8Array): string {
  try {
    const { holder } = JSON.parse(Buffer.from(payload).toString()) as { holder?: unknown };
    return typeof holder === "string" ? holder : "?";
  } catch {
    return "?";
  }
}
