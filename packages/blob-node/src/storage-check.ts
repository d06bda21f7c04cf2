import type { Clock, HealthCheck } from "@meridian/runtime";
import type { BlobStore } from "@meridian/storage";

// A probe writes to the disk: those who ask more often get the last answer.
const FRESH_MS = 5_000;

/** Whether the store can write, read and delete. */
export function createStorageCheck(store: Pick<BlobStore, "probe">, clock: Clock): HealthCheck {
  let last: { readonly at: number; readonly outcome: Promise<void> } | undefined;
  return {
    name: "storage",
    async check(signal) {
      if (last === undefined || clock.monotonic() - last.at > FRESH_MS) {
        last = { at: clock.monotonic(), outcome: store.probe() };
        last.outcome.catch(() => {});
      }
      await withinSignal(last.outcome, signal);
    },
  };
}

function withinSignal(outcome: Promise<void>, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.reject(signal.reason);
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(new Error("the store does not answer in time", { cause: signal.reason }));
    signal.addEventListener("abort", onAbort, { once: true });
    outcome.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
