import type { EventLog } from "@meridian/eventlog";
import type { Feed, ReaderCursor } from "./feed.ts";

/** The site's own log, acknowledged entries as soon as may be: whether a cursor fits is the log's to say. */
export async function openOwnFeed(log: EventLog, cursor: ReaderCursor): Promise<Feed> {
  const check = await log.check(cursor);
  const from = check.ok && cursor !== undefined ? cursor : 0;
  const feed = {
    incarnation: check.incarnation,
    head: check.head,
    batches: (signal: AbortSignal) => log.tail(from, { signal, ahead: true }),
  };
  return check.ok ? feed : { ...feed, resetReason: check.reason };
}
