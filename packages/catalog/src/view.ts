import type { OrderedStore, OrderedTransaction } from "@meridian/keyvalue";
import { ContentError, isContentError } from "@meridian/oci";
import type { Clock, Logger, Timers } from "@meridian/runtime";
import type { recordV1 } from "@meridian/wire";
import type { CatalogEvent } from "./catalog.ts";
import { cursorKey, encodeFoldCursor, type FoldCursor, readFoldCursor } from "./fold-cursor.ts";
import { type HeldRecord, heldRecords, holdRecord, horizon } from "./held-records.ts";
import { hlcMs } from "./hlc.ts";
import { registerName } from "./keys.ts";
import { type IncomingLife, Lives } from "./lives.ts";
import { decodeRecord, latestTime } from "./merge.ts";
import { Positions } from "./positions.ts";
import { ANSWERS, originOf, type StreamOrigin } from "./stream-origin.ts";
import type { Position } from "./version-token.ts";
import type { TagConflict, ViewChanges } from "./view-changes.ts";
import {
  decodeRegisterRow,
  encodeRegisterRow,
  FORMAT_KEY,
  isLiveRow,
  REGISTERS,
  textOf,
  VIEW_FORMAT,
} from "./view-layout.ts";
import { ViewReader } from "./view-reader.ts";
import { ViewUpdate } from "./view-update.ts";

/** A record on its way into the view. */
export interface IncomingRecord {
  readonly record: recordV1.Record;
  /** Its canonical bytes, where they are known. */
  readonly canonical?: Uint8Array;
  /** In the stream. */
  readonly sequence: number;
  /** In the log of the stream's origin. */
  readonly originSequence: number;
  /** The sampled trace that wrote it. */
  readonly traceparent?: string;
}

const ZEROED_AT_ONCE = 2_000;

export interface ViewOptions {
  readonly site: string;
  readonly store: OrderedStore;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
  readonly maxSkewMs: number;
  /** Told of each conflict, once it is in the view. */
  readonly conflicted?: (conflict: TagConflict) => void;
  /** Told of each reading that is not from the future. */
  readonly observe: (time: bigint) => void;
}

/** The folded view of one process: every write to its store goes through here, and every event comes from here. */
export class View implements Disposable {
  /** What the logs say of their lives. */
  readonly lives = new Lives();
  readonly positions = new Positions(this.lives);
  readonly reader: ViewReader;
  readonly store: OrderedStore;
  readonly #options: ViewOptions;
  readonly #listeners = new Set<(events: readonly CatalogEvent[]) => void>();
  readonly #cursors = new Map<string, FoldCursor>();
  /** By stream: the last register that was folded before its stream had it stored. */
  readonly #ahead = new Map<string, Position>();
  #held: HeldRecord[] = [];
  #timer: Disposable | undefined;
  #disposed = false;
  /** How many promises keep positions from being shown. */
  #frozen = 0;
  #guard: ((changes: ViewChanges) => Promise<void> | undefined) | undefined;

  constructor(options: ViewOptions) {
    this.#options = options;
    this.store = options.store;
    this.reader = new ViewReader(options.store, this.positions);
  }

  /** Drops a view of another format: it is folded again. */
  async open(): Promise<void> {
    const format = this.store.get(FORMAT_KEY);
    if (format === undefined || textOf(format) !== VIEW_FORMAT) {
      await this.clear();
    }
    this.lives.load(this.store);
    this.#heldChanged();
  }

  /** Drops everything; the fold then begins again. */
  async clear(): Promise<void> {
    await this.store.clear();
    await this.store.transaction((tx) => tx.put(FORMAT_KEY, Buffer.from(VIEW_FORMAT)));
    this.#cursors.clear();
    this.#ahead.clear();
    this.lives.load(this.store);
    this.reader.forgetAll();
    this.#heldChanged();
  }

  /** Where the fold of a stream stands; undefined before its first batch. */
  cursor(origin: StreamOrigin): FoldCursor | undefined {
    const known = this.#cursors.get(origin.stream);
    if (known !== undefined) {
      return known;
    }
    const stored = readFoldCursor(this.store, origin.stream);
    if (stored !== undefined) {
      this.#moved(origin, stored);
    }
    return stored;
  }

  /**
   * Merges a stream's records, and moves its cursor with them in one transaction when it is given. `lives`: what the
   * stream says among them of its origin's log. Resolves with the milliseconds for which it kept the event loop, its
   * commit included.
   */
  async fold(
    origin: StreamOrigin,
    records: readonly IncomingRecord[],
    cursor?: FoldCursor,
    lives: readonly IncomingLife[] = [],
  ): Promise<number> {
    const { clock } = this.#options;
    const limit = this.#horizon();
    const { held, begun } = await this.#update((update, tx) => {
      const started = clock.monotonic();
      const ahead = records.filter((incoming) => !this.#applyOrHold(update, tx, { origin, incoming, limit }));
      this.lives.store(tx, origin.site, lives);
      if (cursor !== undefined) {
        tx.put(cursorKey(origin.stream), encodeFoldCursor(cursor));
      }
      return { held: ahead, begun: started };
    });
    const tookMs = clock.monotonic() - begun;
    if (held.length > 0) {
      this.#warnHeld(origin, held);
      this.#heldChanged();
    }
    this.#noteLives(origin, lives);
    if (cursor !== undefined) {
      this.#moved(origin, cursor);
    }
    return tookMs;
  }

  /**
   * Merges records that their stream has not stored yet; `reached` is the place of the last of them at their origin. The
   * cursor stays: what a kill of the process takes of the stream is folded once more when it is there again.
   */
  async foldAhead(
    origin: StreamOrigin,
    records: readonly IncomingRecord[],
    reached: Position | undefined,
    lives: readonly IncomingLife[] = [],
  ): Promise<number> {
    const tookMs = await this.fold(origin, records, undefined, lives);
    if (reached !== undefined) {
      this.#ahead.set(origin.stream, reached);
      this.#show(origin, this.#cursors.get(origin.stream));
      this.positions.wake();
    }
    return tookMs;
  }

  /**
   * Resolves once the logs have on disk what is shown of them now.
   * @throws ContentError `unavailable` when the signal aborts first, or what was shown ahead is read again from its start.
   */
  async untilStored(signal: AbortSignal): Promise<void> {
    const message = "the copies of peers' logs were not stored in time";
    const wanted = [...this.#ahead];
    const isStored = ([stream, { incarnation, sequence }]: [string, Position]): boolean => {
      if (!this.#ahead.has(stream)) {
        throw new ContentError("unavailable", `what was shown of ${stream} is being read again`);
      }
      const stored = this.#cursors.get(stream)?.reached;
      return stored?.incarnation.id === incarnation.id && stored.sequence >= sequence;
    };
    await this.positions.until(() => wanted.every(isStored), message, signal);
  }

  /** Merges what other members answered with. */
  async learn(records: readonly recordV1.Record[]): Promise<void> {
    await this.fold(
      ANSWERS,
      records.map((record) => ({ record, sequence: 0, originSequence: 0 })),
    );
  }

  /** Runs a change of the view that is no record of a stream. */
  async change(run: (update: ViewUpdate) => void): Promise<void> {
    await this.#update(run);
  }

  /** Removes the rows of registers that are as `goes` says when it is done. They show nothing: none of them is live. */
  async dropRegisters(keys: readonly string[], goes: (record: recordV1.Record | undefined) => boolean): Promise<void> {
    await this.store.transaction((tx) => {
      for (const key of keys) {
        const row = tx.get(key);
        if (row === undefined || isLiveRow(row) || !goes(decodeRecord(decodeRegisterRow(row).record))) {
          continue;
        }
        tx.delete(key);
        if (key.startsWith("rm ")) {
          tx.delete(`x${key.slice(2)}`);
        }
      }
    });
  }

  /** The own log has no entry of the register any more, which stood at that sequence. */
  async forgetSequence(key: string, sequence: number): Promise<void> {
    await this.store.transaction((tx) => {
      const row = tx.get(key);
      const known = row && decodeRegisterRow(row);
      if (known?.sequence === sequence) {
        tx.put(key, encodeRegisterRow({ ...known, sequence: 0 }));
      }
    });
  }

  /** Starts a stream over: its cursor and held records go, what is merged stays. Sequences of the own log mean nothing any more. */
  async restart(origin: StreamOrigin): Promise<void> {
    if (origin.own) {
      await this.#zeroSequences();
    }
    const held = this.#held.filter(({ stream }) => stream === origin.stream);
    await this.store.transaction((tx) => {
      tx.delete(cursorKey(origin.stream));
      for (const { key } of held) {
        tx.delete(key);
      }
    });
    this.#cursors.delete(origin.stream);
    this.#ahead.delete(origin.stream);
    this.positions.set(origin.site, undefined);
    this.#heldChanged();
  }

  /** The copy of a peer's log is gone: what was shown of it before it had it stored will not be. */
  dropped(origin: StreamOrigin): void {
    this.#ahead.delete(origin.stream);
    this.positions.wake();
  }

  /** Calls `listener` with the events of each transaction until disposed. */
  subscribe(listener: (events: readonly CatalogEvent[]) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /**
   * Calls `guard` with what each transaction changed, before the position that goes with it counts as folded. It does
   * not count until the promise settles that the guard may return; folding itself goes on.
   */
  guard(guard: (changes: ViewChanges) => Promise<void> | undefined): void {
    this.#guard = guard;
  }

  /** True while positions wait for a promise. */
  get isFrozen(): boolean {
    return this.#frozen > 0;
  }

  /** Shows no further position of any origin until the promise settles. */
  freeze(until: Promise<void>): void {
    const thaw = (): void => {
      this.#frozen -= 1;
      if (this.#frozen === 0) {
        this.#showAll();
        this.positions.wake();
      }
    };
    this.#frozen += 1;
    void until.then(thaw, thaw);
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#timer?.[Symbol.dispose]();
    this.#listeners.clear();
  }

  #horizon(): bigint {
    return horizon(this.#options.clock.now(), this.#options.maxSkewMs);
  }

  /** False when the record is from the future, and is held. */
  #applyOrHold(
    update: ViewUpdate,
    tx: OrderedTransaction,
    { origin, incoming, limit }: { origin: StreamOrigin; incoming: IncomingRecord; limit: bigint },
  ): boolean {
    const { record, sequence, originSequence } = incoming;
    const time = latestTime(record);
    if (time > limit) {
      const register = registerName(record.key)?.parts.join(" ") ?? "";
      holdRecord(tx, { time, stream: origin.stream, sequence, originSequence, register, record });
      return false;
    }
    this.#options.observe(time);
    this.#apply(update, origin, incoming);
    return true;
  }

  #apply(update: ViewUpdate, { own, site }: StreamOrigin, incoming: IncomingRecord): void {
    const { record, canonical, sequence, traceparent } = incoming;
    try {
      update.apply(record, { origin: site, canonical, traceparent, ...(own && { ownSequence: sequence }) });
    } catch (error) {
      if (!isContentError(error, "invalid")) {
        throw error;
      }
      this.#options.log.error("left out a malformed record", { origin: site, sequence, error });
    }
  }

  async #update<T>(run: (update: ViewUpdate, tx: OrderedTransaction) => T): Promise<T> {
    const { result, changes } = await this.store.transaction((tx) => {
      const update = new ViewUpdate(tx);
      const outcome = run(update, tx);
      update.finish();
      return { result: outcome, changes: update.changes };
    });
    this.#committed(changes);
    return result;
  }

  #committed(changes: ViewChanges): void {
    this.reader.forget(changes);
    const guarded = this.#guard?.(changes);
    if (guarded !== undefined) {
      this.freeze(guarded);
    }
    for (const conflict of changes.conflicts) {
      this.#options.conflicted?.(conflict);
    }
    if (changes.events.length === 0) {
      return;
    }
    const events =
      changes.traces.size === 0 ? changes.events : changes.events.map((event) => tracedEvent(event, changes));
    for (const listener of [...this.#listeners]) {
      try {
        listener(events);
      } catch (error) {
        this.#options.log.error("a listener of the catalog failed", { error });
      }
    }
  }

  #noteLives({ own, site }: StreamOrigin, lives: readonly IncomingLife[]): void {
    this.lives.note(site, lives);
    for (const { life } of own ? lives : []) {
      this.#options.observe(life.clock);
    }
  }

  #moved(origin: StreamOrigin, cursor: FoldCursor): void {
    this.#cursors.set(origin.stream, cursor);
    this.#show(origin, cursor);
    this.positions.wake();
  }

  /** What is held stops the position that others are told. */
  #show({ stream, site }: StreamOrigin, cursor: FoldCursor | undefined): void {
    if (this.#frozen > 0) {
      return;
    }
    let position = later(cursor?.reached, this.#ahead.get(stream));
    for (const held of this.#held) {
      if (held.stream === stream && position !== undefined && held.originSequence <= position.sequence) {
        position = { ...position, sequence: held.originSequence - 1 };
      }
    }
    this.positions.set(site, position);
  }

  #showAll(): void {
    for (const [stream, cursor] of this.#cursors) {
      const origin = originOf(stream, this.#options.site);
      if (origin !== undefined) {
        this.#show(origin, cursor);
      }
    }
  }

  #heldChanged(): void {
    this.#held = heldRecords(this.store);
    this.#showAll();
    this.#timer?.[Symbol.dispose]();
    const next = this.#held[0];
    if (next !== undefined && !this.#disposed) {
      const { clock, maxSkewMs, timers } = this.#options;
      // At least once a second: the clock may be put right meanwhile.
      const ms = Math.min(Math.max(hlcMs(next.time) + 1 - maxSkewMs - clock.now(), 1), 1_000);
      this.#timer = timers.after(ms, () => void this.#release());
    }
  }

  /** Folds the held records whose time has come. */
  async #release(): Promise<void> {
    try {
      const due = this.#held.filter(({ time }) => time <= this.#horizon());
      await this.#update((update, tx) => {
        for (const held of due) {
          this.#releaseOne(update, tx, held);
        }
      });
    } catch (error) {
      this.#options.log.error("held records could not be folded", { error });
    }
    this.#heldChanged();
    this.positions.wake();
  }

  #releaseOne(update: ViewUpdate, tx: OrderedTransaction, held: HeldRecord): void {
    const bytes = tx.get(held.key);
    const origin = originOf(held.stream, this.#options.site);
    if (bytes === undefined || origin === undefined) {
      return;
    }
    this.#options.observe(held.time);
    this.#apply(update, origin, { record: decodeRecord(bytes), ...held });
    tx.delete(held.key);
  }

  #warnHeld({ site }: StreamOrigin, held: readonly IncomingRecord[]): void {
    const now = this.#options.clock.now();
    const aheadMs = Math.max(...held.map(({ record }) => hlcMs(latestTime(record)) - now));
    const fields = { origin: site, records: held.length, aheadMs };
    this.#options.log.warn("records from the future are held: a clock is wrong", fields);
  }

  async #zeroSequences(): Promise<void> {
    let start: string = REGISTERS.start;
    for (;;) {
      const from = start;
      const last = await this.store.transaction((tx) => {
        let seen: string | undefined;
        for (const [key, row] of tx.range({ start: from, end: REGISTERS.end, limit: ZEROED_AT_ONCE })) {
          tx.put(key, encodeRegisterRow({ ...decodeRegisterRow(row), sequence: 0 }));
          seen = key;
        }
        return seen;
      });
      if (last === undefined) {
        return;
      }
      start = `${last}\0`;
    }
  }
}

/** The further one of two places in one log; the first when they are of different lives of it. */
function later(stored: Position | undefined, ahead: Position | undefined): Position | undefined {
  if (stored === undefined || ahead === undefined) {
    return stored ?? ahead;
  }
  return stored.incarnation.id === ahead.incarnation.id && ahead.sequence > stored.sequence ? ahead : stored;
}

function tracedEvent(event: CatalogEvent, { traces }: ViewChanges): CatalogEvent {
  const traceparent = event.digest === undefined ? undefined : traces.get(event.digest);
  return traceparent === undefined ? event : { ...event, traceparent };
}
