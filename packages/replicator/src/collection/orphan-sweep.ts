import type { Change, OrphanManifest } from "@meridian/catalog";
import { isContentError } from "@meridian/oci";
import { allRepositories } from "../visible-blobs.ts";
import { type Mark, orphanMark } from "./marks.ts";
import { confirmed, isOurs, ripeness, type SweepParts, type SweepRun } from "./sweep.ts";

const ROWS = 200;
/** Who deleted it, in the history of its tag. */
const WHO = "collection";

/**
 * Deletes signatures, SBOMs and the like whose subject was deleted the grace ago, and nowhere came back: those that this
 * site has put. What never had its subject here stays.
 */
export async function sweepOrphans(parts: SweepParts, run: SweepRun): Promise<void> {
  const { marks, timers } = parts;
  run.pass.phase = "manifests";
  const seen = new Set<string>();
  for (const orphans of pages(parts)) {
    const mark: [string, Mark][] = [];
    const ripe: OrphanManifest[] = [];
    for (const orphan of orphans) {
      const key = orphanMark(orphan.repository, orphan.digest);
      if (seen.has(key)) continue;
      seen.add(key);
      const { since, ripe: isRipe } = ripeness(marks.get(key), parts);
      mark.push([key, { since, repository: orphan.repository }]);
      if (isRipe && isOurs(orphan.site, parts)) ripe.push(orphan);
      else run.pass.wait("manifests", orphan.size);
    }
    if (!run.pass.dryRun) await marks.change({ mark });
    await deleteAll(ripe, parts, run);
    await timers.sleep(0, { signal: run.signal });
  }
  if (run.pass.dryRun) return;
  for (const page of marks.pages("o")) {
    const clear = page.map(([key]) => key).filter((key) => !seen.has(key));
    await marks.change({ clear });
    await timers.sleep(0, { signal: run.signal });
  }
}

function* pages({ catalog }: SweepParts): Iterable<readonly OrphanManifest[]> {
  for (let from: string | undefined, done = false; !done; ) {
    const page = catalog.collectable.orphanReferrers({ ...(from !== undefined && { from }), rows: ROWS });
    yield page.items;
    from = page.next;
    done = from === undefined;
  }
  for (const repository of allRepositories(catalog)) yield catalog.collectable.orphanAttachments(repository);
}

async function deleteAll(orphans: readonly OrphanManifest[], parts: SweepParts, run: SweepRun): Promise<void> {
  const { catalog, telemetry, log } = parts;
  if (run.pass.dryRun) {
    for (const orphan of orphans) run.pass.take("manifests", orphan);
    return;
  }
  if (orphans.length === 0) return;
  const candidates = orphans.map((orphan) => ({
    orphan,
    question: { repository: orphan.repository, digest: orphan.subject },
  }));
  const isOrphan = ({ orphan }: { orphan: OrphanManifest }): boolean => catalog.collectable.isOrphan(orphan);
  for (const { orphan } of await confirmed(candidates, isOrphan, parts, run)) {
    const { repository, digest } = orphan;
    const change: Change = { kind: "delete-manifest", repository, digest, who: WHO };
    try {
      await catalog.commit([change], { signal: run.signal });
      run.pass.take("manifests", orphan);
      telemetry.collected("manifests", [orphan]);
    } catch (error) {
      // Somebody deleted it, or needs it again.
      if (!isContentError(error, "not-found") && !isContentError(error, "denied")) throw error;
      log.debug("a manifest was left alone", { error });
    }
    await run.pace(1);
  }
}
