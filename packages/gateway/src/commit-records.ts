import type { Catalog, Change, TagCondition } from "@meridian/catalog";
import { isContentError } from "@meridian/oci";
import type { Clock, OnPersistStep, Timers } from "@meridian/runtime";
import { unavailable } from "./refusal.ts";
import { outwait } from "./transient.ts";

/**
 * Writes changes to the catalog and resolves with the version token that shows them.
 * @throws ContentError `precondition` when the condition fails; Refusal 503 when the log stays away: a retry is safe.
 */
export type CommitRecords = (changes: readonly Change[], condition?: TagCondition) => Promise<string>;

export function createCommitRecords(options: {
  readonly catalog: Catalog;
  readonly transientWaitMs: number;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly onStep?: OnPersistStep;
}): CommitRecords {
  const { catalog, clock, timers, transientWaitMs, onStep } = options;
  return async (changes, condition) => {
    // With a condition a second attempt could meet the first one's own write.
    const waitMs = condition === undefined ? transientWaitMs : 0;
    try {
      const version = await outwait(() => catalog.commit(changes, { condition }), { clock, timers, waitMs });
      // Nothing but the answer is left to be done.
      onStep?.("before the answer");
      return version;
    } catch (error) {
      if (!isContentError(error) || !error.retryable) throw error;
      throw unavailable("this site cannot write at the moment; nothing is lost, and trying again is safe", {
        cause: error,
      });
    }
  };
}
