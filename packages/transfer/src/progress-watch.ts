import type { Clock, Timers } from "@meridian/runtime";

/** Notices when something that should go on does not. */
export interface ProgressWatch extends Disposable {
  /** Something happened: the time starts again. */
  progress(): void;
  /** The time does not count while it is somebody else's turn. */
  pause(): void;
  resume(): void;
}

/** What a {@link watchProgress} needs. */
export interface ProgressWatchOptions {
  readonly clock: Clock;
  readonly timers: Timers;
  /** Milliseconds without progress, paused time not counted, after which `onIdle` is called. */
  readonly idleMs: number;
  /** Called once. */
  readonly onIdle: () => void;
}

/** One coarse timer instead of one per chunk: idleness is noticed up to a quarter of `idleMs` late. */
export function watchProgress({ clock, timers, idleMs, onIdle }: ProgressWatchOptions): ProgressWatch {
  let since = clock.monotonic();
  let paused = false;
  const timer = timers.every(Math.max(5, Math.ceil(idleMs / 4)), () => {
    if (paused || clock.monotonic() - since < idleMs) return;
    timer[Symbol.dispose]();
    onIdle();
  });
  const restart = (): void => {
    since = clock.monotonic();
  };
  return {
    progress: restart,
    pause: () => {
      paused = true;
    },
    resume: () => {
      paused = false;
      restart();
    },
    [Symbol.dispose]: () => timer[Symbol.dispose](),
  };
}
