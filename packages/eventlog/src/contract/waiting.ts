import { isContentError } from "@meridian/oci";
import type { Cursor, EventLog, LogEntry, TailBatch } from "../event-log.ts";

const DEADLINE_MS = 60_000;

/** The result, or an error that says what was awaited when it takes too long. Keeps the process alive meanwhile. */
export async function within<T>(what: string, result: Promise<T>, deadlineMs = DEADLINE_MS): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`${what}: not within ${deadlineMs} ms`)), deadlineMs);
  try {
    return await Promise.race([result, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** Runs `attempt` until it does not throw `unavailable`: for a driver that is on its way back. */
export async function available<T>(attempt: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + DEADLINE_MS;
  for (;;) {
    try {
      return await within("an answer of the log", attempt());
    } catch (error) {
      if (!isContentError(error, "unavailable") || performance.now() > deadline) {
        throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

/** Resolves once the condition holds; fails when that takes too long. */
export async function until(what: string, holds: () => boolean): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  while (!holds()) {
    if (performance.now() > deadline) {
      throw new Error(`${what}: not within ${DEADLINE_MS} ms`);
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Tails until `enough` says so; returns all batches. */
export async function tailUntil(
  log: EventLog,
  after: number | Cursor,
  enough: (entries: readonly LogEntry[], batches: readonly TailBatch[]) => boolean,
): Promise<{ entries: LogEntry[]; batches: TailBatch[] }> {
  const stop = new AbortController();
  const entries: LogEntry[] = [];
  const batches: TailBatch[] = [];
  const reading = (async () => {
    for await (const batch of log.tail(after, { signal: stop.signal })) {
      batches.push(batch);
      entries.push(...batch.entries);
      if (enough(entries, batches)) {
        return;
      }
    }
  })();
  try {
    await within("the entries of a tail", reading);
  } finally {
    stop.abort();
  }
  return { entries, batches };
}

/** All entries from the start up to the head of this moment. */
export async function allEntries(log: EventLog): Promise<LogEntry[]> {
  const { sequence } = await log.head();
  if (sequence === 0) {
    return [];
  }
  const { entries } = await tailUntil(log, 0, (sofar) => (sofar.at(-1)?.sequence ?? 0) >= sequence);
  return entries;
}

/** A text as payload. */
export function bytes(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

/** The reverse of {@link bytes}. */
export function text(payload: Uint8Array | undefined): string | undefined {
  return payload && new TextDecoder().decode(payload);
}
