import type { Clock, Timers } from "@meridian/runtime";
import { waitUntil } from "./transient.ts";

/** Whether this gateway's view is as new as its site's other gateways' views. */
export interface Readiness {
  readonly ready: boolean;
  /** Waits for a view that is catching up. A view that stays behind for long is served all the same: pulls go on while the log is away. */
  wait(signal: AbortSignal): Promise<void>;
}

/** `waitMs`: how long after it fell behind the view is waited for. */
export function createReadiness(options: {
  readonly isReady: () => boolean;
  readonly waitMs: number;
  readonly clock: Clock;
  readonly timers: Timers;
}): Readiness {
  const { isReady, waitMs, clock, timers } = options;
  let behindSince = clock.monotonic();
  let wasReady = false;
  const look = (): boolean => {
    const ready = isReady();
    if (!ready && wasReady) behindSince = clock.monotonic();
    wasReady = ready;
    return ready;
  };
  return {
    get ready() {
      return look();
    },
    async wait(signal) {
      const left = behindSince + waitMs - clock.monotonic();
      if (left > 0) await waitUntil(look, { clock, timers, waitMs: left, signal });
    },
  };
}
