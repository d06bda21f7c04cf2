import type { EventLogReader, EventLogs, LogEntry } from "@meridian/eventlog";
import type { Digest } from "@meridian/oci";
import { recordV1 } from "@meridian/wire";
import { compareHlc, hlcMs, readingId } from "./hlc.ts";
import { historyPrefix } from "./keys.ts";
import { decodeRecord } from "./merge.ts";
import { originOf } from "./stream-origin.ts";
import { tryFromWireDigest } from "./wire-digest.ts";

/** One write of a tag, as its history tells it. */
export interface TagWrite {
  /** Names the write and its place among all others of the tag: `<time>/<site>/<writer>`, the time in hexadecimal. */
  readonly id: string;
  /** By the writer's clock, in milliseconds since the Unix epoch. */
  readonly atMs: number;
  readonly who: string;
  readonly site: string;
  readonly action: "put" | "restored" | "deleted";
  /** What the tag names since; absent after a deletion. */
  readonly digest: Digest | undefined;
  readonly mediaType: string;
  readonly size: number;
  /** What the writer saw the tag name before. */
  readonly from: Digest | undefined;
  /** The write that won although neither had seen the other; absent when there is none. */
  readonly lostTo: { readonly id: string; readonly digest: Digest; readonly site: string } | undefined;
}

/** How long the history of a tag is kept. */
export interface HistoryKept {
  /** Milliseconds. */
  readonly maxAgeMs: number;
  /** The newest of each tag. */
  readonly maxWrites: number;
}

/** 90 days, 100 writes. */
export const DEFAULT_HISTORY: HistoryKept = { maxAgeMs: 90 * 24 * 3_600_000, maxWrites: 100 };

const PAGE = 1_000;
/** More lines of one tag are not read from one log, the oldest first: what exceeds what is kept waits to be removed. */
const MAX_PAGES = 50;

interface Line {
  readonly hlc: recordV1.Hlc;
  readonly prev: readonly recordV1.Hlc[];
  readonly value: recordV1.HistoryValue;
}

/**
 * The writes of one tag at all sites, the newest first: read from the site's own log and its copies of the others', for
 * no view holds them. What is older than kept is left out, although it may still be there.
 * @throws ContentError `unavailable` when the log cannot be read.
 */
export async function readTagHistory(
  { logs, site, kept, nowMs }: { logs: EventLogs; site: string; kept: HistoryKept; nowMs: number },
  repository: string,
  tag: string,
): Promise<TagWrite[]> {
  const origins = (await logs.streams()).flatMap((stream) => originOf(stream, site) ?? []);
  const perOrigin = await Promise.all(
    origins.map(async ({ stream, site: origin }) => {
      return await linesUnder(await logs.open(stream), historyPrefix(origin, repository, tag));
    }),
  );
  const records = perOrigin.flat().map(({ payload }) => decodeRecord(payload));
  return writesOf(records, { repository, tag }, nowMs - kept.maxAgeMs).slice(0, kept.maxWrites);
}

async function linesUnder(log: EventLogReader, prefix: string): Promise<LogEntry[]> {
  const lines: LogEntry[] = [];
  for (let page = 0; page < MAX_PAGES; page++) {
    const more = await log.under(prefix, { after: lines.at(-1)?.sequence ?? 0, limit: PAGE });
    lines.push(...more);
    if (more.length < PAGE) {
      break;
    }
  }
  return lines;
}

/** The writes that lines of history tell of one tag, the newest first, from `oldestMs` on (since the Unix epoch). */
export function writesOf(
  records: readonly recordV1.Record[],
  { repository, tag }: { readonly repository: string; readonly tag: string },
  oldestMs: number,
): TagWrite[] {
  const lines = records.flatMap((record) => lineOf(record, repository, tag) ?? []);
  lines.sort((a, b) => compareHlc(b.hlc, a.hlc));
  const young = lines.filter(({ hlc }) => hlcMs(hlc.time) >= oldestMs);
  return young.map((line) => writeOf(line, young));
}

/** Undefined for what is no line of this tag: its subject is a hash. */
function lineOf({ key, put }: recordV1.Record, repository: string, tag: string): Line | undefined {
  const named = key?.kind.case === "history" ? key.kind.value : undefined;
  if (named?.repository !== repository || named.tag !== tag) {
    return undefined;
  }
  return put?.hlc === undefined || put.value.case !== "history"
    ? undefined
    : { hlc: put.hlc, prev: put.prev, value: put.value.value };
}

function writeOf(line: Line, newestFirst: readonly Line[]): TagWrite {
  const { hlc, value } = line;
  const digest = tryFromWireDigest(value.digest);
  const winner = digest && winnerOver(line, newestFirst);
  const won = tryFromWireDigest(winner?.value.digest);
  return {
    id: readingId(hlc),
    atMs: hlcMs(hlc.time),
    who: value.who,
    site: hlc.site,
    action: actionOf(value, digest),
    digest,
    mediaType: value.mediaType,
    size: Number(value.size),
    from: tryFromWireDigest(value.from),
    lostTo:
      winner && won && won !== digest ? { id: readingId(winner.hlc), digest: won, site: winner.hlc.site } : undefined,
  };
}

function actionOf(value: recordV1.HistoryValue, digest: Digest | undefined): TagWrite["action"] {
  if (digest === undefined) {
    return "deleted";
  }
  return value.cause === recordV1.HistoryCause.RESTORED ? "restored" : "put";
}

/**
 * The first later put of another site whose writer had not seen this one; undefined when some write before it had: then
 * it was not this one that lost.
 */
function winnerOver({ hlc }: Line, newestFirst: readonly Line[]): Line | undefined {
  for (const other of newestFirst.toReversed()) {
    if (compareHlc(other.hlc, hlc) <= 0) {
      continue;
    }
    if (hasSeen(other, hlc)) {
      return undefined;
    }
    if (other.value.digest !== undefined) {
      return other;
    }
  }
  return undefined;
}

function hasSeen({ hlc: own, prev }: Line, hlc: recordV1.Hlc): boolean {
  const seen = prev.find(({ site }) => site === hlc.site);
  return own.site === hlc.site || (seen !== undefined && compareHlc(seen, hlc) >= 0);
}
