import { readFile, rename, writeFile } from "node:fs/promises";
import { z } from "zod";

const schema = z.object({
  format: z.literal(1),
  paused: z.boolean(),
  running: z.boolean(),
  /** The last digest that was looked at; empty at the beginning of a pass. */
  after: z.string(),
  blobs: z.number(),
  bytes: z.number(),
  damaged: z.number(),
  /** Unix epoch, milliseconds; 0 for never. */
  startedAt: z.number(),
  finishedAt: z.number(),
});

/** How far a node's scrub has come, as it is kept over restarts. */
export type ScrubRecord = z.infer<typeof schema>;

/** Of a node that was never scrubbed. */
export const NO_SCRUB: ScrubRecord = {
  format: 1,
  paused: false,
  running: false,
  after: "",
  blobs: 0,
  bytes: 0,
  damaged: 0,
  startedAt: 0,
  finishedAt: 0,
};

/** Undefined when there is none, or none that can be read: then a pass begins anew. */
export async function readScrubRecord(path: string): Promise<ScrubRecord | undefined> {
  try {
    return schema.parse(JSON.parse(await readFile(path, "utf8")));
  } catch {
    return undefined;
  }
}

/** Replaces it as a whole. Not synced: at worst some blobs are hashed once more. */
export async function writeScrubRecord(path: string, record: ScrubRecord): Promise<void> {
  await writeFile(`${path}.new`, `${JSON.stringify(record)}\n`, { mode: 0o600 });
  await rename(`${path}.new`, path);
}
