/** One life of a stream. A lower one (by `created`, then `id`) than the one known is refused. */
export interface Incarnation {
  /** Creation reading: upper 48 bits milliseconds since the Unix epoch, lower 16 bits a counter. */
  readonly created: bigint;
  readonly id: string;
}

/**
 * A place in a stream that can be checked at every resume (consistency.md §1): a lost tail that was refilled
 * differently is found although the stream is compacted.
 */
export interface Cursor {
  readonly incarnation: Incarnation;
  /** The last entry taken; 0 before the first. */
  readonly sequence: number;
  /** The last session record at or before `sequence`; absent when there is none. */
  readonly session?: { readonly sequence: number; readonly hash: Uint8Array };
}

/** A stored entry. */
export interface LogEntry {
  /** Position in this stream; starts at 1, grows, has gaps where entries were compacted away. */
  readonly sequence: number;
  readonly subject: string;
  readonly payload: Uint8Array;
  /** W3C trace context of the write; absent when it was not sampled. */
  readonly traceparent?: string;
  /** In a copy: where the entry stands in the origin's stream. Absent in a log of the site's own. */
  readonly origin?: Cursor;
}

/** What a writer hands in. */
export interface NewEntry {
  readonly subject: string;
  /** At most 64 KiB. */
  readonly payload: Uint8Array;
  readonly traceparent?: string;
  readonly origin?: Cursor;
}

export interface AppendOptions {
  /** Refuse with ContentError `conflict` unless this is the sequence of the subject's last entry (0: no entry). */
  readonly expectedLastSubjectSequence?: number;
  /** Refuse with ContentError `conflict` unless this is the stream's last sequence. */
  readonly expectedLastSequence?: number;
  readonly signal?: AbortSignal;
}

/** Entries as a reader gets them; an empty one is a heartbeat (one a second while idle). */
export interface TailBatch {
  readonly entries: readonly LogEntry[];
  /** The stream's last sequence when the batch was read. */
  readonly head: number;
  /**
   * The cursor after the batch as this very tail saw the stream. Safer than {@link EventLogReader.cursorAt} after the fact:
   * nothing can have been lost and refilled in between. Both drivers set it.
   */
  readonly cursor?: Cursor;
  /** True when the entries are not stored yet, see {@link TailOptions.ahead}; there is no cursor behind them then. */
  readonly ahead?: true;
}

/** How a tail is read. */
export interface TailOptions {
  readonly signal: AbortSignal;
  /**
   * Of a copy, also entries that were handed in and are not on disk yet: their origin has them there. When they turn out
   * not to be stored the tail ends with `unavailable`; what a kill of the process takes of them is copied again. A batch
   * without entries says when they are stored. Of a log of the site's own on NATS, acknowledged entries as soon as their
   * writers tell of them, which may be before the server delivers them; batches are as always then. Default false.
   */
  readonly ahead?: boolean;
}

/** The answer to "may I go on from this cursor?" */
export type ResumeCheck =
  | { readonly ok: true; readonly incarnation: Incarnation; readonly head: number }
  | {
      readonly ok: false;
      readonly incarnation: Incarnation;
      readonly head: number;
      readonly reason: string;
      /**
       * True when the log, in the life that the cursor names, has lost what the cursor had seen. False when the life is
       * another one, or when it cannot be told because the session that the cursor names has expired.
       */
      readonly lost: boolean;
    };

export interface EventLogReader {
  readonly stream: string;
  /** @throws ContentError `unavailable` when the log cannot be reached. */
  head(): Promise<{ readonly incarnation: Incarnation; readonly sequence: number }>;
  /** The subject's last entry; undefined when there is none. */
  last(subject: string): Promise<LogEntry | undefined>;
  /**
   * The last entry of each subject that begins with `prefix`, which ends in a dot, in order of sequence: those after
   * `after` (0 when absent), `limit` at most.
   */
  under(prefix: string, options: { readonly after?: number; readonly limit: number }): Promise<LogEntry[]>;
  /** Checks incarnation, sequence and session of a cursor against the stream (consistency.md §1). */
  check(cursor: Cursor | undefined): Promise<ResumeCheck>;
  /** The cursor that names this place of the stream, with its session. */
  cursorAt(sequence: number): Promise<Cursor>;
  /**
   * Entries after `after`, then new ones as they come, until the signal aborts. Batches hold at most 1 MiB or 5 000 entries.
   * Ends with ContentError `unavailable` when the log goes away: the caller checks its cursor and starts again.
   * Given a cursor instead of a sequence, the tail checks it on its own connection, and ends with ContentError
   * `precondition` when it does not fit.
   */
  tail(after: number | Cursor, options: TailOptions): AsyncIterable<TailBatch>;
}

/** An entry of {@link EventLogWriter.appendAll}. */
export interface ConditionalEntry {
  readonly entry: NewEntry;
  /** See {@link AppendOptions}. */
  readonly expectedLastSubjectSequence?: number;
}

/** An entry that {@link EventLogWriter.discard} removes. */
export interface DiscardedEntry {
  readonly subject: string;
  readonly sequence: number;
}

export interface EventLogWriter {
  /**
   * Resolves with the entry's sequence once the log acknowledges it. Calls made in one turn keep their order.
   * The writer's session record is written before its first append on a connection.
   * @throws ContentError `conflict` when an expectation fails, `unavailable` when the outcome may be unknown.
   */
  append(entry: NewEntry, options?: AppendOptions): Promise<number>;
  /**
   * Appends entries of different subjects, all of them or none, and resolves with their sequences once they are
   * fsynced. Absent where the log has no such transaction (NATS).
   * @throws ContentError `conflict` when one expectation fails: nothing was written then; `unavailable`, `no-space`.
   */
  appendAll?(entries: readonly ConditionalEntry[], options?: { signal?: AbortSignal }): Promise<number[]>;
  /**
   * Removes entries for good, each only while it is the last of its subject, and never the stream's last entry: where a
   * copy stands is read from that. Readers see a gap, as after compaction. Resolves with how many were removed.
   * @throws ContentError `unavailable`: some may have been removed.
   */
  discard(entries: readonly DiscardedEntry[]): Promise<number>;
  /**
   * True when an append that is acknowledged has been fsynced by then (embedded; NATS with sync_interval: always, or R3).
   * Otherwise an outbox entry is kept for `fsyncDelayMs` after its acknowledgement.
   */
  readonly durableAcks: boolean;
}

/** An ordered log: one per stream name. Compacted: the last entry of each subject stays, older ones go. */
export interface EventLog extends EventLogReader, EventLogWriter {}

/** Best-effort messages inside one site, with the log's own failure domain (NATS core; in process when embedded). */
export interface Bulletin {
  publish(subject: string, payload: Uint8Array): void;
  /** Messages published after the subscription began, own ones included. Ends when the signal aborts or the connection is lost (rejects `unavailable`). */
  subscribe(subject: string, options: { signal: AbortSignal }): AsyncIterable<Uint8Array>;
}

/** How a stream is opened. */
export interface OpenOptions {
  /** False keeps every entry of every subject. Only looked at when the stream is created. Default: true. */
  readonly compact?: boolean;
  /** The incarnation of a stream that is created; drawn when absent. An existing stream keeps its own. */
  readonly incarnation?: Incarnation;
  /**
   * Whether this process writes a session record of its own before its first append. Default: only to `META_<site>` of
   * the logs' own site. Copies have their origin's; a stream that is not compacted needs none.
   */
  readonly sessions?: boolean;
}

/** The log server of one site: an LMDB file, or the site's NATS JetStream. */
export interface EventLogs extends AsyncDisposable {
  /**
   * Opens a stream, creating it with a new incarnation when absent. Opening it twice gives the same stream.
   * `compact: false` keeps every entry of every subject.
   */
  open(stream: string, options?: OpenOptions): Promise<EventLog>;
  /** Names of the streams that exist. */
  streams(): Promise<string[]>;
  /**
   * Gives a stream a new incarnation, above its own and above `above`. What it holds stays, sequences too; its tails end,
   * at the latest when they are resumed. For a log that was set back: cursors of what it lost fit no more.
   * @throws ContentError `unavailable` when the log is away or there is no such stream.
   */
  renew(stream: string, options?: { readonly above?: Incarnation }): Promise<EventLog>;
  /** Removes a stream and everything in it. Idempotent. */
  drop(stream: string): Promise<void>;
  readonly bulletin: Bulletin;
  /** Rejects with ContentError `unavailable` and a message for the operator while the log cannot take writes. */
  probe(signal?: AbortSignal): Promise<void>;
}
