import type { Timers } from "@meridian/runtime";

/**
 * The first answer of several attempts: starts the first one, and the next at each failure or when `afterMs` pass
 * without an answer. Rejects with the last failure when all failed, and with the signal's reason when it aborts.
 */
export function hedged<T>(
  attempts: ReadonlyArray<() => Promise<T>>,
  { afterMs, timers, signal }: { afterMs: number; timers: Timers; signal: AbortSignal },
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  let started = 0;
  let failed = 0;
  let waiting: Disposable | undefined;
  const start = (): void => {
    waiting?.[Symbol.dispose]();
    const attempt = attempts[started];
    if (attempt === undefined) return;
    started += 1;
    waiting = started < attempts.length ? timers.after(afterMs, start) : undefined;
    attempt().then(resolve, (error: unknown) => {
      failed += 1;
      if (failed === attempts.length) reject(error);
      else if (failed === started) start();
    });
  };
  const onAbort = (): void => reject(signal.reason);
  if (signal.aborted) onAbort();
  else start();
  signal.addEventListener("abort", onAbort, { once: true });
  return promise.finally(() => {
    waiting?.[Symbol.dispose]();
    signal.removeEventListener("abort", onAbort);
  });
}
