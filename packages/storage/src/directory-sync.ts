import { close, fsync, open } from "node:fs";
import { SharedRun } from "./shared-run.ts";

/** Makes the names in folders survive a power loss: one fsync for all who ask while the one before runs. */
export class DirectorySync {
  readonly #runs = new Map<string, SharedRun>();

  async sync(path: string): Promise<void> {
    const existing = this.#runs.get(path);
    const run = existing ?? new SharedRun(() => syncDirectory(path));
    if (existing === undefined) this.#runs.set(path, run);
    try {
      await run.run();
    } finally {
      if (run.isIdle && this.#runs.get(path) === run) this.#runs.delete(path);
    }
  }
}

/** With plain descriptors: the handles' promises would cost more than the calls, and every blob needs one of these. */
function syncDirectory(path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    open(path, "r", (openError, fd) => {
      if (openError !== null) return reject(openError);
      fsync(fd, (syncError) => {
        close(fd, (closeError) => {
          const error = syncError ?? closeError;
          if (error == null) resolve();
          else reject(error);
        });
      });
    });
  });
}
