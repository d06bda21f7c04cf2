import { type Catalog, type CatalogEvent, tryFromWireDigest } from "@meridian/catalog";
import type { Clock, Logger } from "@meridian/runtime";
import { blobMark, linkMark, type Mark, type Marks } from "./marks.ts";

/**
 * Keeps marks true between passes: what is needed again loses its mark, and the time at which the last link of a blob
 * went is noted when it happens. Never rejects; the next pass sees what was missed.
 */
export function watchNeed(options: {
  readonly catalog: Catalog;
  readonly marks: Marks;
  readonly clock: Clock;
  readonly log: Logger;
}): Disposable {
  const { catalog, marks, clock, log } = options;
  return catalog.subscribe((events) => {
    const since = clock.now();
    const clear = new Set<string>();
    const mark = new Map<string, Mark>();
    for (const event of events) {
      for (const key of neededAgain(event, catalog)) if (marks.get(key) !== undefined) clear.add(key);
      if (event.kind !== "link" || event.visible || catalog.repositoriesOf(event.digest, 1).length > 0) continue;
      const { repository, digest } = event;
      // A link that was deleted because nothing needed it: its bytes have waited as long as it did.
      mark.set(blobMark(digest), { since: marks.get(linkMark(repository, digest))?.since ?? since, repository });
    }
    for (const key of mark.keys()) clear.delete(key);
    marks.change({ mark, clear }).catch((error: unknown) => log.warn("what is needed could not be noted", { error }));
  });
}

/** Marks that are wrong after the event. */
function* neededAgain(event: CatalogEvent, catalog: Catalog): Iterable<string> {
  if (event.kind === "link" && event.visible) yield blobMark(event.digest);
  if (event.kind !== "manifest" || !event.visible) return;
  yield linkMark(event.repository, event.digest);
  for (const reference of catalog.manifest(event.repository, event.digest)?.value?.references ?? []) {
    const digest = tryFromWireDigest(reference.digest);
    if (digest !== undefined) yield linkMark(event.repository, digest);
  }
}
