import { decodeRecord } from "@meridian/catalog";
import { type Cursor, decodeLife, lifePrefix } from "@meridian/eventlog";
import { fromWireCursor, ownStream } from "@meridian/link";
import { ContentError, isContentError } from "@meridian/oci";
import type { ServiceClient } from "@meridian/rpc";
import type { Logger, Timers } from "@meridian/runtime";
import { type linkV1, recordV1 } from "@meridian/wire";

type HeldClient = ServiceClient<typeof linkV1.HeldService>;

/** A member, and a caller of its HeldService; undefined while there is no way to it. */
export interface AskedMember {
  readonly site: string;
  readonly client: HeldClient | undefined;
}

/** How long a member may take for saying where its copy stands, in milliseconds. */
export const HEAD_TIMEOUT_MS = 2_000;
const PAGE_TIMEOUT_MS = 5_000;
const BATCH_ENTRIES = 500;

/** What was found out about a site's log while one life of it is restored. */
export class Findings {
  readonly asked = new Set<string>();
  /** Earlier lives by id, and up to where what members hold of them has been brought in. */
  readonly earlier = new Map<string, { created: bigint; id: string; sequence: bigint }>();
  /** The latest reading of the site's own clocks. */
  clock = 0n;
  records = 0;

  covers({ created, id, sequence }: { created: bigint; id: string; sequence: bigint }): void {
    const known = this.earlier.get(id);
    if (known === undefined || known.sequence < sequence) this.earlier.set(id, { created, id, sequence });
  }

  /** What is no record is left out, as it is when it is adopted. */
  record(site: string, payload: Uint8Array): void {
    try {
      const { put, deleted } = decodeRecord(payload);
      for (const hlc of [put?.hlc, ...(put?.prev ?? []), ...deleted]) {
        if (hlc?.site === site && hlc.time > this.clock) this.clock = hlc.time;
      }
    } catch (error) {
      if (!isContentError(error, "invalid")) throw error;
    }
  }
}

/** Where each member's copy of the site's log ends; members that do not answer in time are left out. */
export async function headsAt(
  members: readonly AskedMember[],
  { site, timers, log, signal }: { site: string; timers: Timers; log: Logger; signal: AbortSignal },
): Promise<ReadonlyMap<string, Cursor | undefined>> {
  const late = new AbortController();
  using _deadline = timers.after(HEAD_TIMEOUT_MS, () => late.abort());
  const both = AbortSignal.any([signal, late.signal]);
  const heads = new Map<string, Cursor | undefined>();
  const ask = async ({ site: member, client }: AskedMember): Promise<void> => {
    try {
      if (client === undefined) return;
      const { copied } = await client.held({ origin: site, headOnly: true }, { signal: both });
      heads.set(member, fromWireCursor(copied));
    } catch (error) {
      signal.throwIfAborted();
      log.debug("a site did not say what it holds of this site's log", { member, error });
    }
  };
  await Promise.all(members.map(ask));
  return heads;
}

/**
 * Brings in all that a member holds of the site's log.
 * @throws ContentError `unavailable` when the member goes away, or its copy does: all of it is to be asked for again.
 */
export async function bringIn(
  client: HeldClient,
  options: {
    readonly site: string;
    readonly found: Findings;
    /** Publishes what the log lacks of these records. */
    readonly adopt: (site: string, payloads: readonly Uint8Array[]) => Promise<void>;
    /** Called after each page. */
    readonly progress: () => Promise<void>;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  const { site, found, progress, signal } = options;
  const prefix = lifePrefix(ownStream(site));
  const lives: recordV1.Life[] = [];
  let copied: Cursor | undefined;
  for (let after: linkV1.HeldPlace | undefined, first = true; first || after !== undefined; first = false) {
    const page = await client.held({ origin: site, ...(after && { after }) }, { signal, timeoutMs: PAGE_TIMEOUT_MS });
    const end = fromWireCursor(page.copied);
    if (!first && end?.incarnation.id !== copied?.incarnation.id)
      throw new ContentError("unavailable", "the copy was thrown away while it was read");
    if (first) copied = end;
    const isLife = ({ subject }: linkV1.Entry): boolean => subject.startsWith(prefix);
    lives.push(...page.entries.filter(isLife).map(({ payload }) => decodeLife(payload)));
    const records = page.entries.filter((entry) => !isLife(entry)).map(({ payload }) => payload);
    await adoptAll(records, options);
    await progress();
    after = page.next;
  }
  if (copied !== undefined) found.covers({ ...copied.incarnation, sequence: BigInt(copied.sequence) });
  // The copy that says that a life was whole begins with all that the life had brought back.
  for (const { state, earlier } of lives) {
    if (state === recordV1.LifeState.WHOLE) for (const one of earlier) found.covers(one);
  }
}

async function adoptAll(
  payloads: readonly Uint8Array[],
  { site, found, adopt }: Pick<Parameters<typeof bringIn>[1], "site" | "found" | "adopt">,
): Promise<void> {
  for (let start = 0; start < payloads.length; start += BATCH_ENTRIES) {
    const batch = payloads.slice(start, start + BATCH_ENTRIES);
    for (const payload of batch) found.record(site, payload);
    await adopt(site, batch);
    found.records += batch.length;
  }
}
