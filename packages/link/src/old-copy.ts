import { type EventLog, type EventLogs, isSessionSubject, type LogEntry, subjectPrefix } from "@meridian/eventlog";
import { copyStream } from "./stream-names.ts";

/**
 * Where a copy that does not fit its origin any more is kept until all that only it holds has been published elsewhere:
 *
 *     OLD_<origin>   OLD_<origin>.<incarnation id>.<the entry's subject without m.<origin>.>
 */
export function oldCopyStream(origin: string): string {
  return `OLD_${origin}`;
}

/** Entries handed on at once. */
const BATCH_ENTRIES = 500;

/** Puts the records of a copy aside. After a crash it may be done again. */
export async function keepOldCopy(logs: EventLogs, origin: string, copy: EventLog): Promise<void> {
  const { incarnation, sequence } = await copy.head();
  if (sequence === 0) return;
  const old = await logs.open(oldCopyStream(origin), { sessions: false });
  const prefix = subjectPrefix(copy.stream);
  for await (const entries of entriesUpTo(copy, sequence)) {
    const records = entries.filter(({ subject }) => !isSessionSubject(copyStream(origin), subject));
    await Promise.all(
      records.map(({ subject, payload, origin: place }) => {
        const life = place?.incarnation.id ?? incarnation.id;
        return old.append({ subject: `${old.stream}.${life}.${subject.slice(prefix.length)}`, payload });
      }),
    );
  }
}

/**
 * Hands the payloads of all copies of an origin that were put aside to `adopt`, in batches, and drops them after that.
 * Does nothing when there are none. Rejects with what `adopt` or the log throws: then it is to be called again.
 */
export async function settleOldCopies(
  logs: EventLogs,
  origin: string,
  adopt: (payloads: readonly Uint8Array[]) => Promise<void>,
): Promise<boolean> {
  const stream = oldCopyStream(origin);
  if (!(await logs.streams()).includes(stream)) return false;
  await handOnEntries(await logs.open(stream, { sessions: false }), origin, adopt);
  await logs.drop(stream);
  return true;
}

/** Hands what a stream of records of an origin holds now to `adopt`, in batches. */
export async function handOnEntries(
  stream: EventLog,
  origin: string,
  adopt: (payloads: readonly Uint8Array[]) => Promise<void>,
): Promise<void> {
  const { sequence } = await stream.head();
  for await (const all of entriesUpTo(stream, sequence)) {
    const entries = all.filter(({ subject }) => !isSessionSubject(copyStream(origin), subject));
    for (let start = 0; start < entries.length; start += BATCH_ENTRIES) {
      const records = entries.slice(start, start + BATCH_ENTRIES).filter(({ subject }) => !isLife(subject));
      await adopt(records.map(({ payload }) => payload));
    }
  }
}

/** What a log says of its own lives is no record of anybody else's. */
function isLife(subject: string): boolean {
  return subject.split(".", 3)[2] === "life";
}

/** What stands in a log up to a sequence, in batches. */
async function* entriesUpTo(log: EventLog, sequence: number): AsyncGenerator<readonly LogEntry[]> {
  if (sequence === 0) return;
  const reading = new AbortController();
  try {
    for await (const { entries } of log.tail(0, { signal: reading.signal })) {
      yield entries.filter((entry) => entry.sequence <= sequence);
      if ((entries.at(-1)?.sequence ?? sequence) >= sequence) return;
    }
  } finally {
    reading.abort();
  }
}
