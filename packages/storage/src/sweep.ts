import { readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { errorCode } from "./file-error.ts";
import { STATE_SUFFIX } from "./filesystem-layout.ts";

/** What a sweep looks at and leaves alone. */
export interface SweepOptions {
  /** The `uploads` folder. */
  readonly folder: string;
  /** Uploads that nobody wrote since (Unix epoch, milliseconds) are removed. */
  readonly olderThan: number;
  /** True for an upload that is being written. */
  readonly isLive: (id: string) => boolean;
  /** At start nobody else is at work: what is no upload's bytes, or a state without bytes, is a leftover. */
  readonly leftovers: boolean;
}

/** Removes what crashes and vanished clients left among the uploads; resolves with the number of things removed. */
export async function sweepUploads({ folder, olderThan, isLive, leftovers }: SweepOptions): Promise<number> {
  let removed = 0;
  const entries = await readdir(folder, { withFileTypes: true });
  const uploads = new Set(
    entries.filter((entry) => entry.isFile() && !entry.name.includes(".")).map(({ name }) => name),
  );
  for (const { name } of entries) {
    if (isLive(name) || uploads.has(stateOf(name) ?? "")) continue;
    const path = join(folder, name);
    const written = uploads.has(name) ? await lastWritten(path) : undefined;
    const isLeftover = !uploads.has(name) && leftovers;
    const isOld = written !== undefined && written < olderThan;
    if (!isLeftover && !isOld) continue;
    await rm(path, { recursive: true, force: true });
    await rm(`${path}${STATE_SUFFIX}`, { force: true });
    removed++;
  }
  return removed;
}

/** The upload whose state has that name. */
function stateOf(name: string): string | undefined {
  return name.endsWith(STATE_SUFFIX) ? name.slice(0, -STATE_SUFFIX.length) : undefined;
}

/** When the upload's bytes were last written; undefined when they have just become a blob. */
async function lastWritten(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).mtimeMs;
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}
