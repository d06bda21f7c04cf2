import { ContentError } from "@meridian/oci";
import type { Timers } from "@meridian/runtime";

/** The signal of one call: aborted by its caller, its deadline, or {@link CallScope.abort}; dispose when it is over. */
export interface CallScope extends Disposable {
  readonly signal: AbortSignal;
  abort(reason: unknown): void;
}

/** What {@link openCallScope} needs. */
export interface CallScopeOptions {
  /** Names the call in the error of a passed deadline. */
  readonly where: string;
  readonly timers: Timers;
  /** From now, in milliseconds; none when absent. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** Opens the signal of one call. Its reason is the caller's, or ContentError `unavailable` after the deadline. */
export function openCallScope({ where, timers, timeoutMs, signal }: CallScopeOptions): CallScope {
  const controller = new AbortController();
  const onAbort = (): void => controller.abort(signal?.reason);
  if (signal?.aborted) onAbort();
  else signal?.addEventListener("abort", onAbort, { once: true });
  const timer =
    timeoutMs === undefined
      ? undefined
      : timers.after(timeoutMs, () => controller.abort(deadlineExceeded(where, timeoutMs)));
  return {
    signal: controller.signal,
    abort: (reason) => controller.abort(reason),
    [Symbol.dispose]() {
      timer?.[Symbol.dispose]();
      signal?.removeEventListener("abort", onAbort);
    },
  };
}

/** The error of a call that had no answer in time. */
export function deadlineExceeded(where: string, timeoutMs: number): ContentError {
  return new ContentError("unavailable", `${where}: no answer within ${timeoutMs} ms`);
}

/** What `promise` becomes, or a rejection with the signal's reason as soon as it aborts. */
export function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
    promise.then(
      (value) => {
        signal.removeEventListener("abort", onAbort);
        resolve(value);
      },
      (error: unknown) => {
        signal.removeEventListener("abort", onAbort);
        reject(error);
      },
    );
  });
}

/**
 * The items of `source`, throwing the signal's reason as soon as it aborts, also while an item is awaited.
 * However it ends, `source` is told to return; that is not awaited, because a source that waits for its next item
 * answers only after that.
 */
export async function* untilAborted<T>(source: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T, void> {
  const iterator = source[Symbol.asyncIterator]();
  let exhausted = false;
  try {
    while (true) {
      signal.throwIfAborted();
      const next = await orAborted(iterator.next(), signal);
      if (next.done) {
        exhausted = true;
        return;
      }
      yield next.value;
    }
  } finally {
    if (!exhausted) iterator.return?.().then(undefined, () => {});
  }
}
