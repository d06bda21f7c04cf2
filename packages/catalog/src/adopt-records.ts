import type { EventLogs } from "@meridian/eventlog";
import { isContentError } from "@meridian/oci";
import type { Logger, Timers } from "@meridian/runtime";
import type { recordV1 } from "@meridian/wire";
import { Deadline } from "./deadline.ts";
import type { Fold } from "./fold.ts";
import { registerName } from "./keys.ts";
import { decodeRecord } from "./merge.ts";
import { type CopiedLog, publishUnlessHeld } from "./publish-unless-held.ts";
import { originOf } from "./stream-origin.ts";
import type { View } from "./view.ts";

/** A batch that takes longer is given up, in milliseconds: whoever asked tries again. */
const TIMEOUT_MS = 30_000;

/** What {@link adoptRecords} works with. */
export interface AdoptOptions {
  readonly site: string;
  readonly logs: EventLogs;
  readonly fold: Fold;
  readonly view: View;
  readonly timers: Timers;
  readonly log: Logger;
}

/** How records of an origin are adopted. */
export interface AdoptMode {
  /** True when the origin is no member any more: what its nodes held is left out, and its own copy keeps nothing. */
  readonly left?: boolean;
}

/**
 * Publishes in this site's own log, merged, those records of an origin's copy that neither the own log holds nor, where
 * the origin goes on in a new log, the copy of that, nor, where it has left, the copy of any other site. Of the site
 * itself: those of what its peers hold that its own log has lost. Payloads that are no records are left out with an error in the log.
 * @throws ContentError `unavailable` when a log goes away: nothing is lost by doing it again.
 */
export async function adoptRecords(
  origin: string,
  payloads: readonly Uint8Array[],
  { left = false, ...options }: AdoptOptions & AdoptMode,
): Promise<void> {
  const { fold, logs, timers } = options;
  const message = "the log did not take the records of a peer's lost log in time";
  using deadline = new Deadline({ timers, ms: TIMEOUT_MS, message });
  const { signal } = deadline;
  const log = await fold.untilOwnLog(signal);
  // Of the site's own lost log there is no copy here.
  const copied = origin === options.site ? [] : [origin];
  const others = await (left ? otherCopies(origin, options) : copiesOf(copied, logs));
  const records = payloads
    .flatMap((payload) => readRecord(payload, origin, options.log) ?? [])
    .filter((record) => !left || !isAtNodeOf(origin, record));
  await Promise.all(records.map((record) => publishUnlessHeld({ ...options, log, others, record, signal })));
}

async function otherCopies(origin: string, { site, logs }: AdoptOptions): Promise<CopiedLog[]> {
  const known = (await logs.streams()).flatMap((stream) => originOf(stream, site) ?? []);
  const sites = known.filter(({ own, stream }) => !own && stream !== "").map((one) => one.site);
  return copiesOf(
    sites.filter((one) => one !== origin),
    logs,
  );
}

function copiesOf(sites: readonly string[], logs: EventLogs): Promise<CopiedLog[]> {
  return Promise.all(sites.map(async (site) => ({ log: await logs.open(`FROM_${site}`), site })));
}

/** What a node holds is that node's to say. */
function isAtNodeOf(site: string, { key }: recordV1.Record): boolean {
  const name = registerName(key);
  return name?.kind === "blob" && name.parts[1]?.startsWith(`${site}/`) === true;
}

function readRecord(payload: Uint8Array, origin: string, log: Logger): recordV1.Record | undefined {
  try {
    return decodeRecord(payload);
  } catch (error) {
    if (!isContentError(error, "invalid")) {
      throw error;
    }
    log.error("left out an entry of an old copy that is no record", { origin, error });
    return undefined;
  }
}
