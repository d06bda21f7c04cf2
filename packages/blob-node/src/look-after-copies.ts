import type { Clock, Logger, Timers } from "@meridian/runtime";
import type { BlobStore } from "@meridian/storage";
import type { BlobNodeConfig } from "./config.ts";
import type { LostBlobs } from "./lost-blobs.ts";
import type { ReadLoad } from "./read-load.ts";
import { Scrubber } from "./scrubber.ts";
import type { BlobNodeEvents } from "./telemetry.ts";

/** What {@link lookAfterCopies} needs. */
export interface CareOptions {
  readonly config: Pick<BlobNodeConfig, "scrub">;
  readonly lost: LostBlobs;
  readonly load: ReadLoad;
  readonly events: BlobNodeEvents;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
  /** See `BlobNodeDeps.scrubFile`. */
  readonly file?: string;
}

/** The care of a node's copies; disposing it stops the scrub and the look at start. */
export interface Care extends AsyncDisposable {
  /** Absent where the store looks after its copies itself. */
  readonly scrubber?: Scrubber;
}

/** How long the look at start rests after each folder, milliseconds. */
const REST_MS = 5;

/** Looks at what is there, once and without reading it, and opens the scrub, which reads it. */
export async function lookAfterCopies(store: BlobStore, options: CareOptions): Promise<Care> {
  const { checks } = store;
  if (checks === undefined) return { [Symbol.asyncDispose]: () => Promise.resolve() };
  const { config, lost, log, timers } = options;
  const scrubber = await Scrubber.open({ ...options, ...config.scrub, store: { list: () => store.list(), checks } });
  const stop = new AbortController();
  const { signal } = stop;
  const look = async (): Promise<void> => {
    await lost.remember();
    let found = 0;
    for await (const _damage of checks.inspect({ pace: () => timers.sleep(REST_MS, { signal }), signal })) found += 1;
    if (found > 0) log.error("blobs that are no readable files are in quarantine now", { found });
  };
  const looking = look().catch((error: unknown) => {
    if (!signal.aborted) log.error("the blobs could not be looked at", { error });
  });
  return {
    scrubber,
    async [Symbol.asyncDispose]() {
      stop.abort(new Error("the blob node stops"));
      await scrubber[Symbol.asyncDispose]();
      await looking;
    },
  };
}
