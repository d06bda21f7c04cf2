import { ContentError } from "@meridian/oci";
import type { Timers } from "@meridian/runtime";

/** A signal that aborts after a time, or when the caller's does; to be disposed. */
export class Deadline implements Disposable {
  readonly #controller = new AbortController();
  readonly #timer: Disposable;
  /** Aborts with a ContentError `unavailable` when the time is over. */
  readonly signal: AbortSignal;

  constructor(options: { timers: Timers; ms: number; message: string; signal?: AbortSignal }) {
    const { timers, ms, message, signal } = options;
    this.#timer = timers.after(ms, () => this.#controller.abort(new ContentError("unavailable", message)));
    this.signal = signal === undefined ? this.#controller.signal : AbortSignal.any([this.#controller.signal, signal]);
  }

  [Symbol.dispose](): void {
    this.#timer[Symbol.dispose]();
  }
}

/** The promise's outcome, or ContentError `unavailable` as soon as the signal aborts; the work itself goes on. */
export async function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const { promise, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(asContentError(signal.reason));
  if (signal.aborted) {
    onAbort();
  }
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}

const FULL = /ENOSPC|EDQUOT|EFBIG|MDB_MAP_FULL|No space|too large/;

/** The error itself when it is one of ours; else `unavailable`, or `no-space` when a disk is full, caused by it. */
export function asContentError(error: unknown): ContentError {
  if (error instanceof ContentError) {
    return error;
  }
  const cause = error instanceof Error ? error.cause : undefined;
  const full = [error, cause].some((one) => one instanceof Error && FULL.test(one.message));
  return full
    ? new ContentError("no-space", "the disk of the catalog is full", { cause: error })
    : new ContentError("unavailable", "the write was given up: its outcome is not known, a retry is safe", {
        cause: error,
      });
}
