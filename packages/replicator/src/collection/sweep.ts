import type { Catalog, NeedQuestion } from "@meridian/catalog";
import type { NodeWatch, Peers, Topology } from "@meridian/cluster";
import type { Clock, Logger, Timers } from "@meridian/runtime";
import type { Confirm } from "./confirm.ts";
import type { Mark, Marks } from "./marks.ts";
import type { Pass } from "./pass.ts";
import type { CollectionTelemetry } from "./telemetry.ts";

/** What every sweep of a pass works with. */
export interface SweepParts {
  readonly topology: Topology;
  readonly peers: Peers;
  readonly watch: Pick<NodeWatch, "state">;
  readonly catalog: Catalog;
  readonly marks: Marks;
  readonly confirm: Confirm;
  readonly graceMs: number;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly telemetry: CollectionTelemetry;
  readonly log: Logger;
}

/** One pass's own. */
export interface SweepRun {
  readonly pass: Pass;
  /** Aborts when the pass is to end: the process stops, or an operator pauses it. */
  readonly signal: AbortSignal;
  /** Resolves with what `ask` does; while a member cannot be asked it says so and asks again, for as long as that takes. */
  readonly untilAsked: <T>(ask: () => Promise<T>) => Promise<T>;
  /** Waits so that no more than the allowed number go in a second; to be told of each batch. */
  readonly pace: (count: number) => Promise<void>;
}

/** Records written in one commit: short enough that pulls in the same process do not notice. */
export const COMMIT_BATCH = 250;

/** The mark, made now where there is none; `ripe` once the grace is over. */
export function ripeness(
  known: Mark | undefined,
  { clock, graceMs }: Pick<SweepParts, "clock" | "graceMs">,
): { readonly since: number; readonly ripe: boolean } {
  const now = clock.now();
  const since = known?.since ?? now;
  return { since, ripe: known !== undefined && now - since >= graceMs };
}

/** True at the site that writes the record's deletion: that of its put, or the first member when that site is gone. */
export function isOurs(site: string, { topology }: Pick<SweepParts, "topology">): boolean {
  return site === topology.site || (!topology.sites.includes(site) && topology.sites[0] === topology.site);
}

/** Those of which every member says that nothing needs them, with this site's own view looked at right before. */
export async function confirmed<T extends { readonly question: NeedQuestion }>(
  candidates: readonly T[],
  isStillFree: (candidate: T) => boolean,
  { catalog, confirm }: SweepParts,
  { pass, signal, untilAsked }: SweepRun,
): Promise<T[]> {
  return untilAsked(async () => {
    const version = catalog.version();
    const still = candidates.filter(isStillFree);
    const questions = still.map(({ question }) => question);
    const free = await confirm.everywhere(questions, { version, signal });
    const found = still.filter((candidate, index) => free[index] === true && isStillFree(candidate));
    pass.blobsNeeded += candidates.length - found.length;
    return found;
  });
}

export function* chunks<T>(items: readonly T[], size: number): Iterable<readonly T[]> {
  for (let at = 0; at < items.length; at += size) yield items.slice(at, at + size);
}
