/** Time, passed in wherever it matters, so that simulations own it. */
export interface Clock {
  /** Wall clock: milliseconds since the Unix epoch, UTC. May jump. */
  now(): number;
  /** Milliseconds from an arbitrary start; never goes back. */
  monotonic(): number;
}

/** The machine's clock with an offset that fault drills may set. */
export interface SystemClock extends Clock {
  /** Shifts {@link Clock.now} by this many milliseconds; 0 puts it right again. Monotonic time is not affected. */
  skew(offsetMs: number): void;
}

export function createSystemClock(): SystemClock {
  let offset = 0;
  return {
    now: () => Date.now() + offset,
    monotonic: () => performance.now(),
    skew: (offsetMs) => {
      offset = offsetMs;
    },
  };
}
