import { beginsLaterLife, compareIncarnations, confirmedCheck, type EventLog } from "@meridian/eventlog";
import { ContentError } from "@meridian/oci";
import type { Feed, FeedBatch, ReaderCursor } from "./feed.ts";
import type { LogTailServiceOptions } from "./log-tail-service.ts";

/**
 * The site's own log, acknowledged entries as soon as may be: whether a cursor fits is the log's to say.
 * @throws ContentError `unavailable` when the reader has seen what the log has lost: the site begins another life first.
 */
export async function openOwnFeed(
  log: EventLog,
  cursor: ReaderCursor,
  { own: guard, timers }: Pick<LogTailServiceOptions, "own" | "timers">,
): Promise<Feed> {
  const check = await confirmedCheck(log, cursor, timers);
  // A later life than this one was lost with its log: readers that know it refuse an earlier one.
  const outlived = cursor !== undefined && compareIncarnations(cursor.incarnation, check.incarnation) > 0;
  if (!check.ok && (check.lost || outlived) && guard?.foundLost(check)) {
    throw new ContentError("unavailable", `this log was set back: ${check.reason}`);
  }
  const from = check.ok && cursor !== undefined ? cursor : 0;
  const { incarnation } = check;
  const feed = {
    incarnation,
    head: check.head,
    batches: (signal: AbortSignal) => ofOneLife(log.tail(from, { signal, ahead: true }), log.stream, incarnation),
  };
  return check.ok ? feed : { ...feed, resetReason: check.reason };
}

/** Ends when the log begins another life: its readers have to begin anew. */
async function* ofOneLife(
  batches: AsyncIterable<FeedBatch>,
  stream: string,
  incarnation: Feed["incarnation"],
): AsyncGenerator<FeedBatch> {
  for await (const batch of batches) {
    if (batch.entries.some((entry) => beginsLaterLife(stream, entry, incarnation)))
      throw new ContentError("unavailable", `log ${stream} has begun another life`);
    yield batch;
  }
}
