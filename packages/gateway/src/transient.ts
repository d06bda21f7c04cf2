import { isContentError } from "@meridian/oci";
import type { Clock, Timers } from "@meridian/runtime";

const FIRST_PAUSE_MS = 25;
const LONGEST_PAUSE_MS = 500;

/** How long a state that passes by itself is waited out. */
export interface Patience {
  readonly clock: Clock;
  readonly timers: Timers;
  /** Milliseconds from the first attempt. */
  readonly waitMs: number;
  readonly signal?: AbortSignal;
}

/**
 * Runs `attempt` again while it fails in a way that may pass (a log that reconnects, a lost compare-and-set), with
 * growing pauses, until `waitMs` are over; then throws the last failure.
 */
export async function outwait<T>(attempt: () => Promise<T>, { clock, timers, waitMs, signal }: Patience): Promise<T> {
  const deadline = clock.monotonic() + waitMs;
  for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
    try {
      return await attempt();
    } catch (error) {
      if (!isContentError(error) || !error.retryable || clock.monotonic() + pause > deadline) throw error;
    }
    await timers.sleep(pause, { signal });
  }
}

/** Resolves true once `condition` holds, false when `waitMs` pass first. Looks every 25 ms, or as told. */
export async function waitUntil(
  condition: () => boolean | Promise<boolean>,
  { clock, timers, waitMs, signal, everyMs = 25 }: Patience & { readonly everyMs?: number },
): Promise<boolean> {
  const deadline = clock.monotonic() + waitMs;
  while (!(await condition())) {
    const left = deadline - clock.monotonic();
    if (left <= 0) return false;
    await timers.sleep(Math.min(everyMs, left), { signal });
  }
  return true;
}
