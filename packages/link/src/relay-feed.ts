import type { Cursor, EventLog, LogEntry, TailBatch } from "@meridian/eventlog";
import { ContentError } from "@meridian/oci";
import { type CopiedEntry, copiedUpTo, lastCopied } from "./copied-position.ts";
import type { Feed, FeedBatch, ReaderCursor } from "./feed.ts";
import { sameSession } from "./wire-cursor.ts";

/**
 * This site's copy of another origin, served in the origin's sequences. The copy may be behind the reader: then nothing
 * is sent until it is past the reader's cursor, and only then can it be told whether both copied the same tail.
 * @throws ContentError `unavailable` while nothing has been copied.
 */
export async function openRelayFeed(log: EventLog, cursor: ReaderCursor): Promise<Feed> {
  const last = await lastCopied(log);
  if (last === undefined) throw new ContentError("unavailable", `nothing of ${log.stream} has been copied yet`);
  const { incarnation } = last.origin;
  const base = { incarnation, head: last.origin.sequence };
  if (cursor === undefined) return { ...base, batches: (signal) => relay(log, 0, { known: last, signal }) };
  const behind = last.origin.sequence < cursor.sequence;
  const before = behind ? last : await copiedUpTo(log, cursor.sequence);
  const resetReason = mismatch(cursor, before, { behind, incarnation });
  if (resetReason !== undefined) {
    return { ...base, resetReason, batches: (signal) => relay(log, 0, { known: last, signal }) };
  }
  const after = before?.sequence ?? 0;
  return {
    ...base,
    batches: (signal) => relay(log, after, { known: last, signal, ...(behind && { unchecked: cursor }) }),
  };
}

function mismatch(
  cursor: Cursor,
  before: CopiedEntry | undefined,
  { behind, incarnation }: { behind: boolean; incarnation: Cursor["incarnation"] },
): string | undefined {
  if (cursor.incarnation.id !== incarnation.id || cursor.incarnation.created !== incarnation.created) {
    return `the cursor is of incarnation ${cursor.incarnation.id}, the copy here of ${incarnation.id}`;
  }
  if (behind || sameSession(cursor.session, before?.origin.session)) return undefined;
  return `another session was written before ${cursor.sequence} than the copy here has`;
}

/** Tails the copy from its own sequence `after`. `unchecked` is a cursor of the reader that lies beyond the copy. */
async function* relay(
  log: EventLog,
  after: number,
  { known, unchecked, signal }: { known: CopiedEntry; unchecked?: Cursor; signal: AbortSignal },
): AsyncIterable<FeedBatch> {
  let pending = unchecked;
  let before = known.origin;
  let head = known.origin.sequence;
  for await (const batch of log.tail(after, { signal })) {
    const entries: LogEntry[] = [];
    for (const { origin, ...entry } of copied(batch)) {
      if (pending !== undefined && origin.sequence > pending.sequence) {
        requireFit(pending, before);
        pending = undefined;
      }
      before = origin;
      if (pending === undefined) entries.push({ ...entry, sequence: origin.sequence });
    }
    head = Math.max(head, before.sequence);
    yield { entries, head };
  }
}

function copied({ entries }: TailBatch): CopiedEntry[] {
  return entries.filter((entry): entry is CopiedEntry => entry.origin !== undefined);
}

function requireFit(cursor: Cursor, before: Cursor): void {
  if (before.incarnation.id === cursor.incarnation.id && sameSession(before.session, cursor.session)) return;
  throw new ContentError("conflict", `the copy here went another way before ${cursor.sequence}: ask again`);
}
