import type { EventLogs } from "@meridian/eventlog";
import { handOnEntries, settleOldCopies } from "./old-copy.ts";
import { copyStream } from "./stream-names.ts";

/**
 * Hands on what the copy of a site holds that is no member any more, and drops the copy: from then on the site is no
 * origin here. True when there was one. Rejects with what `adopt` or the log throws: then it is to be called again.
 */
export async function leaveCopy(
  logs: EventLogs,
  origin: string,
  adopt: (payloads: readonly Uint8Array[]) => Promise<void>,
): Promise<boolean> {
  const hadOld = await settleOldCopies(logs, origin, adopt);
  const stream = copyStream(origin);
  if (!(await logs.streams()).includes(stream)) return hadOld;
  await handOnEntries(await logs.open(stream), origin, adopt);
  await logs.drop(stream);
  return true;
}
