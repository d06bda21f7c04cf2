import type { Bulletin } from "@meridian/eventlog";
import { type Logger, lazyInstruments } from "@meridian/runtime";
import type { TagConflict } from "./view-changes.ts";

/** Where conflicts are told on the site's NATS, as JSON; docs/tags.md has the fields. */
export const CONFLICT_SUBJECT = "meridian.event.tag.conflict";

const instruments = lazyInstruments("@meridian/catalog", (meter) => ({
  conflicts: meter.createCounter("meridian.tag.conflicts", {
    description: "Writes of a tag that lost against one of another site, neither having seen the other",
  }),
}));

/**
 * Tells of a conflict: a log line, a metric, and a message on the site's bulletin (its NATS). Each process that folds it
 * tells, and after a rebuild of its view again: `id` is the same each time.
 */
export function tellConflict(
  { repository, tag, winner, loser }: TagConflict,
  { site, bulletin, log }: { readonly site: string; readonly bulletin: Bulletin; readonly log: Logger },
): void {
  const fields = {
    event: "tag.conflict",
    id: `${winner.id}-${loser.id}`,
    repository,
    tag,
    winner: winner.digest,
    winnerSite: winner.site,
    loser: loser.digest,
    loserSite: loser.site,
  };
  log.warn("two sites wrote one tag without seeing each other: the later write wins", fields);
  instruments().conflicts.add(1, { winner: winner.site, loser: loser.site });
  bulletin.publish(CONFLICT_SUBJECT, Buffer.from(JSON.stringify({ ...fields, site })));
}
