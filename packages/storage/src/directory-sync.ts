import { open } from "node:fs/promises";
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

async function syncDirectory(path: string): Promise<void> {
  await using folder = await open(path, "r");
  await folder.sync();
}
