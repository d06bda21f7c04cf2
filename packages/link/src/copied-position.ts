import type { Cursor, EventLogReader, LogEntry } from "@meridian/eventlog";

/** An entry of a copy, with its place in the origin's log. */
export type CopiedEntry = LogEntry & { readonly origin: Cursor };

/** The last entry of a copy; undefined when it is empty or its last entry does not say where it came from. */
export async function lastCopied(log: EventLogReader): Promise<CopiedEntry | undefined> {
  const { sequence } = await log.head();
  const entry = sequence === 0 ? undefined : await firstAfter(log, sequence - 1);
  return entry !== undefined && hasOrigin(entry) ? entry : undefined;
}

/**
 * The last entry of a copy that stands at or before a sequence of the origin; undefined when there is none. A copy keeps
 * the origin's order, so this is a binary search over the copy's own sequences: some twenty short reads in a million.
 */
export async function copiedUpTo(log: EventLogReader, originSequence: number): Promise<CopiedEntry | undefined> {
  let found: CopiedEntry | undefined;
  let low = 0;
  let high = (await log.head()).sequence;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    const entry = await firstAfter(log, middle);
    if (entry !== undefined && hasOrigin(entry) && entry.origin.sequence <= originSequence) {
      found = entry;
      low = entry.sequence;
    } else {
      high = middle;
    }
  }
  return found;
}

function hasOrigin(entry: LogEntry): entry is CopiedEntry {
  return entry.origin !== undefined;
}

/** The first entry after a sequence of the log itself; undefined at its end. */
async function firstAfter(log: EventLogReader, sequence: number): Promise<LogEntry | undefined> {
  const reading = new AbortController();
  try {
    for await (const { entries, head } of log.tail(sequence, { signal: reading.signal })) {
      const [first] = entries;
      if (first !== undefined) return first;
      if (head <= sequence) return undefined;
    }
    return undefined;
  } finally {
    reading.abort();
  }
}
