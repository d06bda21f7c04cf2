import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { errorCode } from "./file-error.ts";

/** What a sweep looks at and leaves alone. */
export interface SweepOptions {
  /** The `uploads` folder. */
  readonly folder: string;
  /** Uploads that nobody wrote since (Unix epoch, milliseconds) are removed. */
  readonly olderThan: number;
  /** True for an upload that is being written. */
  readonly isLive: (id: string) => boolean;
  /** At start nobody else is at work: what has no bytes, or no upload's name, is a leftover. */
  readonly leftovers: boolean;
}

/** Removes what crashes and vanished clients left among the uploads; resolves with the number of things removed. */
export async function sweepUploads({ folder, olderThan, isLive, leftovers }: SweepOptions): Promise<number> {
  let removed = 0;
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (isLive(entry.name)) continue;
    const path = join(folder, entry.name);
    const written = entry.isDirectory() ? await lastWritten(path) : undefined;
    const isLeftover = written === undefined && leftovers;
    const isOld = written !== undefined && written < olderThan;
    if (!isLeftover && !isOld) continue;
    await rm(path, { recursive: true, force: true });
    removed++;
  }
  return removed;
}

/** When the upload's bytes were last written; undefined when it has none. */
async function lastWritten(folder: string): Promise<number | undefined> {
  try {
    return (await stat(join(folder, "data"))).mtimeMs;
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}
