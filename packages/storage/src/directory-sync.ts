import { closeSync, fsync, openSync } from "node:fs";
import type { OnPersistStep } from "@meridian/runtime";
import { SharedRun } from "./shared-run.ts";

/** Makes the names in folders survive a power loss: one fsync for all who ask while the one before runs. */
export class DirectorySync {
  readonly #runs = new Map<string, SharedRun>();
  readonly #onStep: OnPersistStep | undefined;

  constructor(onStep?: OnPersistStep) {
    this.#onStep = onStep;
  }

  async sync(path: string): Promise<void> {
    const existing = this.#runs.get(path);
    const run = existing ?? new SharedRun(() => syncDirectory(path, this.#onStep));
    if (existing === undefined) this.#runs.set(path, run);
    try {
      await run.run();
    } finally {
      if (run.isIdle && this.#runs.get(path) === run) this.#runs.delete(path);
    }
  }
}

/** Opened and closed here, where the kernel has it in memory: only the fsync is worth the way to another thread. */
function syncDirectory(path: string, onStep: OnPersistStep | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const fd = openSync(path, "r");
    onStep?.("before the folder's fsync");
    fsync(fd, (error) => {
      try {
        closeSync(fd);
      } catch (closeError) {
        reject(closeError);
      }
      if (error === null) resolve();
      else reject(error);
    });
  });
}
