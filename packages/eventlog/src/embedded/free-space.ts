import { statfs } from "node:fs/promises";

/** Below this much free space the log counts as unable to take writes: LMDB needs whole pages for a transaction. */
const MIN_FREE_BYTES = 16 << 20;

/** What is wrong with the space where the log is, for the operator; undefined while there is enough. Rejects when it cannot be asked. */
export async function lackOfSpace(path: string): Promise<string | undefined> {
  const { bavail, bsize } = await statfs(path);
  if (bavail * bsize >= MIN_FREE_BYTES) {
    return undefined;
  }
  const free = Math.trunc((bavail * bsize) / (1 << 20));
  return `only ${free} MiB are free at ${path}: the log takes no writes`;
}
