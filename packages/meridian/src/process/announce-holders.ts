import type { Catalog, Change } from "@meridian/catalog";
import type { Digest } from "@meridian/oci";
import type { Clock, Logger, Timers } from "@meridian/runtime";

/** Tells the catalog of the same process which blobs its node has fetched. */
export interface HolderAnnouncer {
  /** To be called when a blob has become present. Uploads are left out: their gateway announces them with the link. */
  readonly stored: (digest: Digest, size: number, cause: "upload" | "fetch") => void;
  /** Starts announcing; what was stored before is announced then. */
  announceTo(catalog: Catalog): Disposable;
}

const BATCH_DELAY_MS = 20;
/** From one announcement to the next, in milliseconds: where blobs are is a hint, and costs the log a sync. */
const SPACING_MS = 200;
const RETRY_DELAY_MS = 1_000;
const MAX_BATCH = 500;

/** Announcements are gathered for a moment, so that many small blobs cost one write, and tried until the log takes them. */
export function createHolderAnnouncer(parameters: {
  readonly node: string;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
}): HolderAnnouncer {
  const { node, clock, timers, log } = parameters;
  const waiting = new Map<Digest, number>();
  let catalog: Catalog | undefined;
  let scheduled: Disposable | undefined;
  let announcedAt = Number.NEGATIVE_INFINITY;

  const schedule = (delayMs: number): void => {
    if (scheduled !== undefined || catalog === undefined || waiting.size === 0) return;
    const spacedMs = announcedAt + SPACING_MS - clock.monotonic();
    scheduled = timers.after(Math.max(delayMs, spacedMs), () => void announce());
  };
  const announce = async (): Promise<void> => {
    const batch = [...waiting].slice(0, MAX_BATCH);
    let delayMs = BATCH_DELAY_MS;
    try {
      await catalog?.commit(
        batch.map(([digest, size]): Change => ({ kind: "blob-at-node", digest, node, size, state: "present" })),
      );
      for (const [digest] of batch) waiting.delete(digest);
      // A backlog goes out at once.
      if (batch.length < MAX_BATCH) announcedAt = clock.monotonic();
    } catch (error) {
      log.warn("fetched blobs could not be announced yet", { count: batch.length, error });
      delayMs = RETRY_DELAY_MS;
    }
    scheduled = undefined;
    schedule(delayMs);
  };
  return {
    stored(digest, size, cause) {
      if (cause === "upload") return;
      waiting.set(digest, size);
      schedule(BATCH_DELAY_MS);
    },
    announceTo(target) {
      catalog = target;
      schedule(0);
      return {
        [Symbol.dispose]() {
          catalog = undefined;
          scheduled?.[Symbol.dispose]();
        },
      };
    },
  };
}
