import type { EventLog, EventLogs } from "@meridian/eventlog";
import { ContentError } from "@meridian/oci";
import type { Clock, Logger, Timers } from "@meridian/runtime";
import type { recordV1 } from "@meridian/wire";
import { type Span, SpanStatusCode, TraceFlags, trace } from "@opentelemetry/api";
import type { CatalogWriter, Change, TagCondition } from "./catalog.ts";
import { checkCondition, type Intent, planCommit, recordsOf } from "./commit-plan.ts";
import { asContentError, Deadline, orAborted } from "./deadline.ts";
import type { Fold } from "./fold.ts";
import type { FoldExchange } from "./fold-exchange.ts";
import type { HlcClock } from "./hlc.ts";
import { KeyLocks } from "./key-locks.ts";
import { registerName, subjectOf } from "./keys.ts";
import { findRecord } from "./lookups.ts";
import { encodeRecord, latestTime } from "./merge.ts";
import type { Outbox, OutboxEntry } from "./outbox.ts";
import { OutboxKeeper } from "./outbox-keeper.ts";
import type { LogLife } from "./own-log-life.ts";
import { publishAtOnce } from "./publish-at-once.ts";
import { publishRecord } from "./publish-record.ts";
import { formatVersion, type Position } from "./version-token.ts";
import type { View } from "./view.ts";

/** A write that cannot be answered by then is given up, in milliseconds; the outbox still brings it into the log. */
const COMMIT_TIMEOUT_MS = 10_000;
/** The log is asked whether it takes writes this often at most, in milliseconds. */
const PROBE_EVERY_MS = 1_000;

export interface WriterOptions {
  readonly site: string;
  readonly logs: EventLogs;
  readonly view: View;
  readonly fold: Fold;
  readonly exchange: FoldExchange;
  readonly outbox: Outbox;
  readonly hlc: HlcClock;
  /** What may keep the site from taking writes. */
  readonly life?: Pick<LogLife, "restoring" | "checked">;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
}

/** One register of a running commit. */
interface Item {
  readonly viewKey: string;
  readonly intent: Intent;
  change: recordV1.Record;
  history?: recordV1.Record;
}

/** A planned commit on its way into the log. */
interface PlannedCommit {
  readonly items: readonly Item[];
  readonly condition: TagCondition | undefined;
  readonly log: EventLog;
  readonly traceparent: string | undefined;
}

/** One that waits in the outbox. */
interface Commit extends PlannedCommit {
  entry: OutboxEntry;
}

/** Writes changes: outbox, log, fold on every live gateway of the site, answer. */
export class Writer implements Pick<CatalogWriter, "commit">, AsyncDisposable {
  readonly keeper: OutboxKeeper;
  readonly #options: WriterOptions;
  readonly #locks = new KeyLocks();
  readonly #background = new Set<Promise<void>>();
  #closed = false;
  #probedAt = Number.NEGATIVE_INFINITY;

  constructor(options: WriterOptions) {
    this.#options = options;
    this.keeper = new OutboxKeeper(options);
  }

  commit(
    changes: readonly Change[],
    { condition, signal }: { condition?: TagCondition; signal?: AbortSignal } = {},
  ): Promise<string> {
    return trace.getTracer("@meridian/catalog").startActiveSpan("catalog.commit", async (span) => {
      const message = "the write could not be finished in time: its outcome is not known, a retry is safe";
      using deadline = new Deadline({ timers: this.#options.timers, ms: COMMIT_TIMEOUT_MS, message, signal });
      try {
        return await this.#commit(changes, condition, { span, signal: deadline.signal });
      } catch (error) {
        span.setStatus({ code: SpanStatusCode.ERROR });
        throw asContentError(error);
      } finally {
        span.end();
      }
    });
  }

  /** Waits for what runs; the outbox keeps what does not get done. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await this.keeper[Symbol.asyncDispose]();
    await Promise.allSettled(this.#background);
  }

  async #commit(
    changes: readonly Change[],
    condition: TagCondition | undefined,
    { span, signal }: { span: Span; signal: AbortSignal },
  ): Promise<string> {
    const { exchange, site, view } = this.#options;
    const log = await this.#writableLog(signal);
    const written = await this.#write(changes, condition, { log, traceparent: traceparentOf(span), signal });
    if (written === undefined) {
      return view.reader.version();
    }
    await exchange.untilFolded(written.position, signal);
    // What was there already may have come from another site: then the answer rests on that site's log too.
    return written.registers < changes.length
      ? view.reader.version()
      : formatVersion(new Map([[site, written.position]]));
  }

  /** Undefined when there was nothing to write. */
  async #write(
    changes: readonly Change[],
    condition: TagCondition | undefined,
    { log, traceparent, signal }: { log: EventLog; traceparent: string | undefined; signal: AbortSignal },
  ): Promise<{ position: Position; registers: number } | undefined> {
    const { fold, hlc, view } = this.#options;
    for (;;) {
      const wanted = planCommit(view.store, changes, condition);
      using _locks = await this.#locks.acquire(wanted.keys());
      signal.throwIfAborted();
      await hlc.prepare(this.#latest(wanted));
      // From here to the outbox nothing waits: what was planned is what is seen.
      const plan = planCommit(view.store, changes, condition);
      if (![...plan.keys()].every((key) => wanted.has(key))) {
        continue;
      }
      if (plan.size === 0) {
        return undefined;
      }
      const items = this.#items(plan);
      const sequence =
        log.appendAll === undefined
          ? await this.#viaOutbox({ items, condition, log, traceparent }, signal)
          : await orAborted(this.#atOnce({ items, condition, log, traceparent }, log.appendAll), signal);
      await fold.untilShown(sequence, signal);
      return { position: { incarnation: this.#incarnation(), sequence }, registers: plan.size };
    }
  }

  #latest(plan: ReadonlyMap<string, Intent>): bigint {
    let latest = 0n;
    for (const key of plan.keys()) {
      const time = latestTime(findRecord(this.#options.view.store, key)?.record);
      if (time > latest) {
        latest = time;
      }
    }
    return latest;
  }

  #items(plan: ReadonlyMap<string, Intent>): Item[] {
    return [...plan].map(([viewKey, intent]) => ({ viewKey, intent, ...this.#stamped(viewKey, intent) }));
  }

  #stamped(viewKey: string, intent: Intent): { change: recordV1.Record; history?: recordV1.Record } {
    const { hlc, view } = this.#options;
    const seen = findRecord(view.store, viewKey)?.record;
    return recordsOf(intent, { seen, stamp: (after) => hlc.next(after), after: latestTime(seen) });
  }

  /** A log that takes all of it in one synced transaction needs no outbox before it. */
  async #atOnce(commit: PlannedCommit, appendAll: NonNullable<EventLog["appendAll"]>): Promise<number> {
    const { timers } = this.#options;
    const message = "the log did not take the write in time: its outcome is not known, a retry is safe";
    using deadline = new Deadline({ timers, ms: COMMIT_TIMEOUT_MS, message });
    const conflicted = (item: Item): Promise<void> => this.#stampAgain(commit, item);
    return await publishAtOnce({ ...this.#options, ...commit, appendAll, conflicted, signal: deadline.signal });
  }

  async #viaOutbox(planned: PlannedCommit, signal: AbortSignal): Promise<number> {
    const entry = this.#options.outbox.newEntry(recordsIn(planned.items), planned.condition);
    const commit: Commit = { ...planned, entry };
    await this.#keep(commit);
    return await orAborted(this.#publish(commit), signal);
  }

  /** Puts the commit into the outbox. After that its outcome is open until the log has it. */
  async #keep(commit: Commit): Promise<void> {
    const { id } = commit.entry;
    this.keeper.begin(id);
    try {
      await this.#options.outbox.put(commit.entry);
    } catch (error) {
      this.#options.outbox.remove(id);
      this.keeper.giveUp(id);
      throw error;
    }
  }

  /** Brings the commit into the log, whether or not its caller still waits. Returns the last sequence. */
  async #publish(commit: Commit): Promise<number> {
    const { timers, outbox } = this.#options;
    const message = "the log did not take the write in time: its outcome is not known, a retry is safe";
    using deadline = new Deadline({ timers, ms: COMMIT_TIMEOUT_MS, message });
    try {
      // A conditional tag goes first: when its condition fails nothing else of the commit is written.
      const [first, rest] = inOrder(commit);
      const sequences = [
        ...(await this.#publishAll(commit, first, deadline.signal)),
        ...(await this.#publishAll(commit, rest, deadline.signal)),
      ];
      const sequence = Math.max(...sequences);
      this.#inBackground(this.#finish(commit, sequence));
      return sequence;
    } catch (cause) {
      const error = asContentError(cause);
      if (error.kind !== "unavailable" && error.kind !== "no-space") {
        outbox.remove(commit.entry.id);
      }
      this.keeper.giveUp(commit.entry.id);
      throw error;
    }
  }

  #publishAll(commit: Commit, items: readonly Item[], signal: AbortSignal): Promise<number[]> {
    const { log, traceparent } = commit;
    return Promise.all(
      items.map((item) =>
        publishRecord({
          ...this.#options,
          log,
          change: () => item.change,
          conflicted: () => this.#again(commit, item),
          traceparent,
          signal,
        }),
      ),
    );
  }

  async #again(commit: Commit, item: Item): Promise<void> {
    await this.#stampAgain(commit, item);
    if (item.intent.value !== undefined) {
      commit.entry = { ...commit.entry, records: recordsIn(commit.items) };
      await this.#options.outbox.put(commit.entry);
    }
  }

  /** After a conflict: a put must come after what was first, a deletion keeps to what its caller had seen. */
  async #stampAgain({ condition }: PlannedCommit, item: Item): Promise<void> {
    const { hlc, view } = this.#options;
    const { intent } = item;
    if (intent.value !== undefined) {
      await hlc.prepare(latestTime(findRecord(view.store, item.viewKey)?.record));
    }
    checkCondition(view.store, { kind: "tag", ...intent.tag }, condition);
    if (intent.value !== undefined) {
      Object.assign(item, this.#stamped(item.viewKey, intent));
    }
  }

  /** The history follows its tag; nobody waits for it, the outbox has it. */
  async #finish({ entry, items, log }: Commit, sequence: number): Promise<void> {
    try {
      const appended = items.flatMap(({ history }) => (history === undefined ? [] : this.#appendHistory(log, history)));
      const last = Math.max(sequence, ...(await Promise.all(appended)));
      this.keeper.acknowledged(entry.id, { incarnation: this.#incarnation(), sequence: last }, log);
    } catch (error) {
      this.#options.log.debug("a tag's history waits in the outbox", { error });
      this.keeper.giveUp(entry.id);
    }
  }

  #appendHistory(log: EventLog, history: recordV1.Record): Promise<number> {
    const name = registerName(history.key);
    return name === undefined
      ? Promise.resolve(0)
      : log.append({ subject: subjectOf(this.#options.site, name), payload: encodeRecord(history) });
  }

  #inBackground(work: Promise<void>): void {
    this.#background.add(work);
    void work.finally(() => this.#background.delete(work));
  }

  #incarnation(): Position["incarnation"] {
    const shown = this.#options.view.positions.get(this.#options.site);
    if (shown === undefined) {
      throw new ContentError("unavailable", "the log was lost while it was written: the outcome is not known");
    }
    return shown.incarnation;
  }

  /** @throws ContentError `unavailable` while the log takes no writes: nothing is written then. */
  async #writableLog(signal: AbortSignal): Promise<EventLog> {
    const { clock, fold, life, logs } = this.#options;
    if (this.#closed) {
      throw new ContentError("unavailable", "the catalog was closed");
    }
    await life?.checked();
    const restoring = life?.restoring;
    if (restoring !== undefined) {
      throw new ContentError("unavailable", restoring.message);
    }
    const now = clock.monotonic();
    if (fold.ownLog === undefined || now - this.#probedAt >= PROBE_EVERY_MS) {
      await logs.probe(signal);
      this.#probedAt = now;
    }
    const log = await fold.untilOwnLog(signal);
    if (life?.restoring !== undefined) {
      throw new ContentError("unavailable", life.restoring.message);
    }
    return log;
  }
}

function recordsIn(items: readonly Item[]): recordV1.Record[] {
  const histories = items.flatMap(({ history }) => (history === undefined ? [] : [history]));
  return [...items.map(({ change }) => change), ...histories];
}

function inOrder({ items, condition }: Commit): [Item[], Item[]] {
  if (condition === undefined) {
    return [[...items], []];
  }
  const isTag = ({ intent }: Item): boolean => intent.tag !== undefined;
  return [items.filter(isTag), items.filter((item) => !isTag(item))];
}

/** The span as the log's entries carry it (W3C Trace Context); absent when it is not sampled. */
function traceparentOf(span: Span): string | undefined {
  const { traceId, spanId, traceFlags } = span.spanContext();
  return (traceFlags & TraceFlags.SAMPLED) === 0 ? undefined : `00-${traceId}-${spanId}-01`;
}
