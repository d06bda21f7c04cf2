import type { MessageInitShape } from "@bufbuild/protobuf";
import { type EventLog, type EventLogs, type LogEntry, subjectPrefix } from "@meridian/eventlog";
import { ContentError } from "@meridian/oci";
import type { ServiceImpl } from "@meridian/rpc";
import type { linkV1 } from "@meridian/wire";
import { lastCopied } from "./copied-position.ts";
import { oldCopyStream } from "./old-copy.ts";
import { copyStream } from "./stream-names.ts";
import { toWireCursor } from "./wire-cursor.ts";

type HeldEntry = Pick<LogEntry, "sequence" | "subject" | "payload">;
type HeldAnswer = MessageInitShape<typeof linkV1.HeldResponseSchema>;

/**
 * Tells a site that may have lost its log what this one holds of it: what was put aside of copies of earlier lives, then
 * the copy, a page at a time. Makes no stream.
 */
export function createHeldService({
  members,
  logs,
}: {
  /** Names of the member sites: others are refused. */
  readonly members: () => readonly string[];
  readonly logs: EventLogs;
}): ServiceImpl<typeof linkV1.HeldService> {
  return {
    async held({ origin, headOnly, after }, { peer }): Promise<HeldAnswer> {
      if (!members().includes(origin)) throw new ContentError("denied", `${origin} is not a member`);
      const replicates = peer?.service === "replicator" || peer?.service === "site";
      if (peer !== undefined && !(peer.site === origin && replicates))
        throw new ContentError("denied", `${peer.site}/${peer.service} may not read what is held of site ${origin}`);
      const streams = new Set(await logs.streams());
      const name = copyStream(origin);
      const copy = streams.has(name) ? await logs.open(name) : undefined;
      const last = copy && (await lastCopied(copy));
      const head = last === undefined ? {} : { copied: toWireCursor(last.origin) };
      if (headOnly) return head;
      const { inCopy = false, sequence = 0n } = after ?? {};
      const aside = oldCopyStream(origin);
      if (!inCopy && streams.has(aside)) {
        const entries = await pageOf(await logs.open(aside, { sessions: false }), Number(sequence));
        if (entries.length > 0)
          return {
            ...head,
            ...page(
              entries.map((entry) => asWritten(origin, entry)),
              false,
            ),
          };
      }
      if (copy === undefined || last === undefined) return head;
      const entries = await pageOf(copy, inCopy ? Number(sequence) : 0);
      return entries.length === 0 ? head : { ...head, ...page(entries, true) };
    },
  };
}

/** Sessions are left out of what is told, not of where the next page begins. */
function page(entries: readonly HeldEntry[], inCopy: boolean): Pick<HeldAnswer, "entries" | "next"> {
  const told = entries.filter(({ subject }) => subject.split(".", 3)[2] !== "session");
  return {
    entries: told.map(({ sequence, subject, payload }) => ({ sequence: BigInt(sequence), subject, payload })),
    next: { inCopy, sequence: BigInt(entries.at(-1)?.sequence ?? 0) },
  };
}

/** The next entries of a log, a batch of a tail; none at its end. */
async function pageOf(log: EventLog, after: number): Promise<readonly HeldEntry[]> {
  const reading = new AbortController();
  try {
    for await (const { entries, head } of log.tail(after, { signal: reading.signal })) {
      if (entries.length > 0 || head <= after) return entries;
    }
    return [];
  } finally {
    reading.abort();
  }
}

/** What was put aside as `OLD_eu.<life>.tag.…` was written as `m.eu.tag.…`. */
function asWritten(origin: string, entry: HeldEntry): HeldEntry {
  return { ...entry, subject: subjectPrefix(copyStream(origin)) + entry.subject.split(".").slice(2).join(".") };
}
