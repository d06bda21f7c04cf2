import type { Cursor, Incarnation, LogEntry } from "@meridian/eventlog";

/** Entries of one origin in the origin's own sequence numbers; an empty batch is a heartbeat. */
export interface FeedBatch {
  readonly entries: readonly Pick<LogEntry, "sequence" | "subject" | "payload" | "traceparent">[];
  /** The origin's last sequence as far as this site knows. */
  readonly head: number;
}

/** An origin's log as one reader is served it: from the log itself, or from this site's copy. */
export interface Feed {
  readonly incarnation: Incarnation;
  readonly head: number;
  /** Why the reader's cursor does not fit, so that the batches start at the beginning; absent when it fits. */
  readonly resetReason?: string;
  /** Ends with the signal; rejects with ContentError when the log goes away or the cursor turns out not to fit. */
  batches(signal: AbortSignal): AsyncIterable<FeedBatch>;
}

/** What a feed is opened for: `cursor` absent means from the beginning. */
export type ReaderCursor = Cursor | undefined;
