import type { LimitStore } from "../limit-store.ts";

/** An empty store, and time that passes for it. */
export interface LimitBench extends AsyncDisposable {
  readonly store: LimitStore;
  /** A second view of the same: of another process, where the driver is shared between processes; else the store itself. */
  readonly other: LimitStore;
  /** Resolves when this much time has passed for the store. */
  pass(ms: number): Promise<void>;
}
