import type { Cursor, EventLog } from "@meridian/eventlog";
import { isContentError } from "@meridian/oci";
import type { Clock, Logger, Timers } from "@meridian/runtime";
import type { recordV1 } from "@meridian/wire";
import { checkCondition } from "./commit-plan.ts";
import { Deadline } from "./deadline.ts";
import type { Fold } from "./fold.ts";
import { compareHlc } from "./hlc.ts";
import { findRecord } from "./lookups.ts";
import { seenReadings } from "./merge.ts";
import type { Outbox, OutboxEntry } from "./outbox.ts";
import { placeOf } from "./publish-record.ts";
import { publishUnlessHeld } from "./publish-unless-held.ts";
import type { Position } from "./version-token.ts";
import type { View } from "./view.ts";

/** How long an acknowledged entry is kept where an acknowledgement does not mean that the log has synced, in milliseconds. */
const FSYNC_DELAY_MS = 180_000;
/** An entry that the log never acknowledged is reported, not replayed, after this, in milliseconds: half of the collector's grace. */
const REPLAY_WITHIN_MS = 12 * 60 * 60 * 1000;
const REPLAY_TIMEOUT_MS = 10_000;
const TICK_MS = 1_000;

export interface OutboxKeeperOptions {
  readonly site: string;
  readonly outbox: Outbox;
  readonly fold: Fold;
  readonly view: View;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
}

/** Keeps what is in the outbox until the log is sure to keep it, and brings it there again when the log may lack it. */
export class OutboxKeeper implements AsyncDisposable {
  readonly #options: OutboxKeeperOptions;
  readonly #running = new Set<string>();
  readonly #acknowledged = new Map<string, { position: Position; at: number }>();
  readonly #logBack: Disposable;
  readonly #ticking: Disposable;
  readonly #stopping = new AbortController();
  #replaying: Promise<void> = Promise.resolve();
  #due = false;

  constructor(options: OutboxKeeperOptions) {
    this.#options = options;
    this.#logBack = options.fold.onOwnLogBack(() => this.#replay({ all: true }));
    this.#ticking = options.timers.every(TICK_MS, () => this.#tick());
  }

  /** A commit takes care of the entry now. */
  begin(id: string): void {
    this.#running.add(id);
  }

  /** The commit has given up: the entry is replayed soon, unless it was removed. */
  giveUp(id: string): void {
    this.#running.delete(id);
    this.#due = true;
  }

  /** Everything of the entry is in the log, up to this position. */
  acknowledged(id: string, position: Position, log: EventLog): void {
    this.#running.delete(id);
    if (log.durableAcks) {
      this.#options.outbox.remove(id);
    } else {
      this.#acknowledged.set(id, { position, at: this.#options.clock.monotonic() });
    }
  }

  /** A peer has durably copied this site's log up to the cursor: what is there cannot be lost with this log. */
  copied({ incarnation, sequence }: Cursor): void {
    for (const [id, { position }] of this.#acknowledged) {
      if (position.incarnation.id === incarnation.id && position.sequence <= sequence) {
        this.#forget(id);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#logBack[Symbol.dispose]();
    this.#ticking[Symbol.dispose]();
    this.#stopping.abort();
    await this.#replaying;
  }

  #forget(id: string): void {
    this.#acknowledged.delete(id);
    this.#options.outbox.remove(id);
  }

  #tick(): void {
    const now = this.#options.clock.monotonic();
    for (const [id, { at }] of this.#acknowledged) {
      if (now - at >= FSYNC_DELAY_MS) {
        this.#forget(id);
      }
    }
    if (this.#due && this.#options.fold.ownLog !== undefined) {
      this.#replay({ all: false });
    }
  }

  /** `all`: also what the log acknowledged, for its tail may be lost. */
  #replay({ all }: { all: boolean }): void {
    this.#due = false;
    this.#replaying = this.#replaying.then(() => this.#replayAll(all));
  }

  async #replayAll(all: boolean): Promise<void> {
    const { clock, log, outbox } = this.#options;
    try {
      for (const entry of outbox.entries()) {
        const acknowledged = this.#acknowledged.has(entry.id);
        if (this.#stopping.signal.aborted || this.#running.has(entry.id) || (acknowledged && !all)) {
          continue;
        }
        if (!acknowledged && clock.now() - entry.at > REPLAY_WITHIN_MS) {
          const written = new Date(entry.at).toISOString();
          log.error("a write never reached the log and is too old to be replayed", { entry: entry.id, written });
          continue;
        }
        await this.#replayOne(entry);
      }
    } catch (error) {
      this.#due = true;
      if (!this.#stopping.signal.aborted) {
        log.warn("the outbox could not be replayed: trying again", { error });
      }
    }
  }

  async #replayOne(entry: OutboxEntry): Promise<void> {
    const { fold, log, outbox, timers, view } = this.#options;
    const message = "the log did not take a replayed write in time";
    using deadline = new Deadline({ timers, ms: REPLAY_TIMEOUT_MS, message, signal: this.#stopping.signal });
    const ownLog = await fold.untilOwnLog(deadline.signal);
    const { incarnation } = await ownLog.head();
    try {
      this.#checkConditions(entry);
    } catch (error) {
      if (!isContentError(error, "precondition")) {
        throw error;
      }
      log.warn("a conditional write was not in the log, and its condition holds no more: dropped", { error });
      outbox.remove(entry.id);
      return;
    }
    let last = view.positions.get(this.#options.site)?.sequence ?? 0;
    for (const record of entry.records) {
      last = Math.max(last, await this.#publish(ownLog, record, deadline.signal));
    }
    log.info("replayed a write from the outbox", { entry: entry.id });
    this.acknowledged(entry.id, { incarnation, sequence: last }, ownLog);
  }

  /** @throws ContentError `precondition` unless the tag was already written, or may still be. */
  #checkConditions({ condition, records }: OutboxEntry): void {
    const { store } = this.#options.view;
    for (const record of records) {
      const key = record.key?.kind;
      if (condition !== undefined && key?.case === "tag" && !isIn(this.#seen(record), record)) {
        checkCondition(store, { kind: "tag", ...key.value }, condition);
      }
    }
  }

  #seen(record: recordV1.Record): recordV1.Record | undefined {
    return findRecord(this.#options.view.store, placeOf(this.#options.site, record).key)?.record;
  }

  /** Returns the sequence; 0 when the log has it. */
  #publish(log: EventLog, record: recordV1.Record, signal: AbortSignal): Promise<number> {
    return publishUnlessHeld({ ...this.#options, log, record, signal });
  }
}

/** True when the register has seen every reading of the change. */
function isIn(seen: recordV1.Record | undefined, change: recordV1.Record): boolean {
  const known = seenReadings(seen);
  return seenReadings(change.put === undefined ? change : { ...change, put: { ...change.put, prev: [] } }).every(
    (hlc) => known.some((other) => other.site === hlc.site && compareHlc(other, hlc) >= 0),
  );
}
