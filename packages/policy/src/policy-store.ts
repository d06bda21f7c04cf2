import { create, toBinary } from "@bufbuild/protobuf";
import type { EventLog } from "@meridian/eventlog";
import { policyV1 } from "@meridian/wire";
import { COMMIT_SUBJECT, EXCLUDED_SUBJECT, entrySubject, FRESH_SUBJECT, LogMirror } from "./log-mirror.ts";
import { type Position, positionOf, positionToWire } from "./position.ts";

/**
 * A replica's own policy log: the stream and what it holds, in memory. Its owner calls one writing method at a time.
 * After a failed write the outcome is unknown: call {@link PolicyStore.reload} before going on.
 */
export class PolicyStore {
  readonly #openLog: () => Promise<EventLog>;
  #log: EventLog;
  #mirror = new LogMirror();
  #operations = new Map<string, number>();

  private constructor(openLog: () => Promise<EventLog>, log: EventLog) {
    this.#openLog = openLog;
    this.#log = log;
  }

  /** @throws ContentError `unavailable` when the log cannot be read. */
  static async open(openLog: () => Promise<EventLog>, signal: AbortSignal): Promise<PolicyStore> {
    const store = new PolicyStore(openLog, await openLog());
    await store.reload(signal);
    return store;
  }

  /** Opens and reads the stream again. */
  async reload(signal: AbortSignal): Promise<void> {
    this.#log = await this.#openLog();
    const mirror = new LogMirror();
    await readToHead(this.#log, mirror, signal);
    this.#mirror = mirror;
    this.#operations = new Map();
    for (let seq = 1; seq <= this.lastSeq; seq++) this.#remember(mirror.at(seq));
  }

  get mirror(): LogMirror {
    return this.#mirror;
  }

  /** The last entry held; undefined when there is none. */
  get last(): Position | undefined {
    const entry = this.#mirror.last;
    return entry && positionOf(entry);
  }

  get lastSeq(): number {
    return Number(this.#mirror.last?.seq ?? 0n);
  }

  /** Sequence of the first entry of an operation; undefined when the log has none. */
  seqOfOperation(opId: string): number | undefined {
    return this.#operations.get(opId);
  }

  /**
   * Appends entries that follow the last one. Resolves when they are as durable as the log makes them.
   * With `exclusive`, another writer's entry at the same place makes it fail with ContentError `conflict`.
   */
  async append(
    entries: readonly policyV1.Entry[],
    options: { exclusive: boolean; signal?: AbortSignal },
  ): Promise<void> {
    const written = entries.map(async (entry) => {
      const subject = entrySubject(positionOf(entry));
      const payload = toBinary(policyV1.EntrySchema, entry);
      await this.#log.append(
        { subject, payload },
        {
          ...(options.exclusive ? { expectedLastSubjectSequence: 0 } : {}),
          ...(options.signal ? { signal: options.signal } : {}),
        },
      );
      return { subject, payload, entry };
    });
    for (const { subject, payload, entry } of await Promise.all(written)) {
      this.#mirror.ingest(subject, payload);
      this.#remember(entry);
    }
  }

  /** Drops every entry after `seq`, last first, so that a crash leaves a prefix. */
  async truncateAfter(seq: number): Promise<void> {
    for (let last = this.#mirror.last; last && Number(last.seq) > seq; last = this.#mirror.last) {
      const subject = entrySubject(positionOf(last));
      const payload = new Uint8Array();
      await this.#log.append({ subject, payload });
      this.#mirror.ingest(subject, payload);
      if (this.#operations.get(last.opId) === Number(last.seq)) this.#operations.delete(last.opId);
    }
  }

  /** Stores up to where entries are effective. */
  async setCommit(commit: Position): Promise<void> {
    await this.#put(
      COMMIT_SUBJECT,
      toBinary(policyV1.PositionSchema, create(policyV1.PositionSchema, positionToWire(commit))),
    );
  }

  /** Stores when the home was last heard of (wall clock), so that a restart knows the policy's age. */
  async setFreshAt(ms: number): Promise<void> {
    const payload = Buffer.alloc(8);
    payload.writeBigUInt64BE(BigInt(Math.max(0, Math.floor(ms))));
    await this.#put(FRESH_SUBJECT, payload);
  }

  /** Stores that this site is no member any more; undefined: that it is one. */
  async setExclusion(exclusion: policyV1.Exclusion | undefined): Promise<void> {
    await this.#put(
      EXCLUDED_SUBJECT,
      exclusion === undefined ? new Uint8Array() : toBinary(policyV1.ExclusionSchema, exclusion),
    );
  }

  async #put(subject: string, payload: Uint8Array): Promise<void> {
    await this.#log.append({ subject, payload });
    this.#mirror.ingest(subject, payload);
  }

  #remember(entry: policyV1.Entry | undefined): void {
    if (entry && !this.#operations.has(entry.opId)) this.#operations.set(entry.opId, Number(entry.seq));
  }
}

/** Takes everything that the stream holds now. Resolves with the sequence read to. */
export async function readToHead(log: EventLog, mirror: LogMirror, signal: AbortSignal): Promise<number> {
  const { sequence: head } = await log.head();
  if (head === 0) return 0;
  const stop = new AbortController();
  try {
    for await (const batch of log.tail(0, { signal: AbortSignal.any([signal, stop.signal]) })) {
      for (const entry of batch.entries) mirror.ingest(entry.subject, entry.payload);
      // The entry at the head is never compacted away.
      if ((batch.entries.at(-1)?.sequence ?? 0) >= head) break;
    }
  } finally {
    stop.abort();
  }
  signal.throwIfAborted();
  return head;
}
