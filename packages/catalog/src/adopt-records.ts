import type { EventLogs } from "@meridian/eventlog";
import { isContentError } from "@meridian/oci";
import type { Logger, Timers } from "@meridian/runtime";
import type { recordV1 } from "@meridian/wire";
import { Deadline } from "./deadline.ts";
import type { Fold } from "./fold.ts";
import { decodeRecord } from "./merge.ts";
import { publishUnlessHeld } from "./publish-unless-held.ts";
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

/**
 * Publishes in this site's own log, merged, those records of an origin's old copy that neither the new copy nor the own
 * log holds: the origin lost them. Of the site itself: those of what its peers hold that its own log has lost. Payloads that are no records are left out with an error in the log.
 * @throws ContentError `unavailable` when a log goes away: nothing is lost by doing it again.
 */
export async function adoptRecords(
  origin: string,
  payloads: readonly Uint8Array[],
  options: AdoptOptions,
): Promise<void> {
  const { fold, logs, timers } = options;
  const message = "the log did not take the records of a peer's lost log in time";
  using deadline = new Deadline({ timers, ms: TIMEOUT_MS, message });
  const { signal } = deadline;
  const log = await fold.untilOwnLog(signal);
  // Of the site's own lost log there is no copy here.
  const other = origin === options.site ? undefined : { log: await logs.open(`FROM_${origin}`), site: origin };
  const records = payloads.flatMap((payload) => readRecord(payload, origin, options.log) ?? []);
  await Promise.all(
    records.map((record) => publishUnlessHeld({ ...options, log, ...(other && { other }), record, signal })),
  );
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
