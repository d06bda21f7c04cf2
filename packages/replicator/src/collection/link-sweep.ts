import type { LoneLink } from "@meridian/catalog";
import { blobMark, linkMark, type Mark } from "./marks.ts";
import { COMMIT_BATCH, chunks, isOurs, ripeness, type SweepParts, type SweepRun } from "./sweep.ts";

/** Rows looked at between two turns of the event loop. */
const ROWS = 200;
const MAX_RIPE = 2_000;

/**
 * Deletes links that nothing visible has needed for the grace: those that this site has put. No member is asked, for
 * what is pinned anywhere is linked again there, and what a manifest names stays linked by that.
 */
export async function sweepLinks(parts: SweepParts, run: SweepRun): Promise<void> {
  const { catalog, marks, timers } = parts;
  run.pass.phase = "links";
  let ripe: LoneLink[] = [];
  for (let from: string | undefined, done = false; !done; ) {
    const page = catalog.collectable.loneLinks({ ...(from !== undefined && { from }), rows: ROWS });
    const mark: [string, Mark][] = [];
    for (const link of page.items) {
      const key = linkMark(link.repository, link.digest);
      const { since, ripe: isRipe } = ripeness(marks.get(key), parts);
      mark.push([key, { since, repository: link.repository }]);
      if (isRipe && isOurs(link.site, parts) && isReadable(link.repository, parts)) ripe.push(link);
      else run.pass.wait("links", link.size);
    }
    if (!run.pass.dryRun) await marks.change({ mark });
    from = page.next;
    done = from === undefined;
    if (ripe.length >= MAX_RIPE || done) {
      await deleteAll(ripe, parts, run);
      ripe = [];
    }
    await timers.sleep(0, { signal: run.signal });
  }
  if (!run.pass.dryRun) await forgetNeeded(parts, run);
}

/** While a manifest of the repository has not been read, nobody can say what it needs. */
function isReadable(repository: string, { catalog }: SweepParts): boolean {
  return catalog.collectable.unread({ repository, n: 1 }).length === 0;
}

async function deleteAll(links: readonly LoneLink[], parts: SweepParts, run: SweepRun): Promise<void> {
  const { catalog, confirm, marks, telemetry } = parts;
  if (run.pass.dryRun) {
    for (const link of links) run.pass.take("links", link);
    return;
  }
  const { signal } = run;
  const pinned = await run.untilAsked(() => confirm.pinnedHere(links, { version: catalog.version(), signal }));
  const unpinned = links.filter((_, index) => pinned[index] === false);
  for (const chunk of chunks(unpinned, COMMIT_BATCH)) {
    signal.throwIfAborted();
    const lone = chunk.filter(({ repository, digest }) => catalog.collectable.isLone(repository, digest));
    const since = (link: LoneLink): number =>
      marks.get(linkMark(link.repository, link.digest))?.since ?? parts.clock.now();
    // Its bytes have waited as long as it did.
    await marks.change({
      mark: lone.map((link) => [blobMark(link.digest), { since: since(link), repository: link.repository }]),
    });
    await catalog.commit(
      lone.map(({ repository, digest }) => ({ kind: "collect-link", repository, digest })),
      { signal },
    );
    await marks.change({ clear: lone.map(({ repository, digest }) => linkMark(repository, digest)) });
    for (const link of lone) run.pass.take("links", link);
    telemetry.collected("links", lone);
    await run.pace(lone.length);
  }
}

/** Marks of links that are needed again, or gone. */
async function forgetNeeded({ catalog, marks, timers }: SweepParts, { signal }: SweepRun): Promise<void> {
  for (const page of marks.pages("l")) {
    const clear = page
      .map(([key]) => key)
      .filter((key) => {
        const [, repository = "", digest = ""] = key.split(" ");
        return !catalog.collectable.isLone(repository, digest as LoneLink["digest"]);
      });
    await marks.change({ clear });
    await timers.sleep(0, { signal });
  }
}
