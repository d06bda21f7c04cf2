import type { Timers } from "@meridian/runtime";
import type { Cursor, EventLogReader, ResumeCheck } from "./event-log.ts";

/** A server that has just become the leader may know less for a moment than was acknowledged, in milliseconds. */
const AGAIN_AFTER_MS = 500;

/** As {@link EventLogReader.check}; that the log has lost something is only said when it still looks so a moment later. */
export async function confirmedCheck(
  log: EventLogReader,
  cursor: Cursor | undefined,
  timers: Pick<Timers, "sleep">,
): Promise<ResumeCheck> {
  const check = await log.check(cursor);
  if (check.ok || !check.lost) {
    return check;
  }
  await timers.sleep(AGAIN_AFTER_MS);
  return log.check(cursor);
}
