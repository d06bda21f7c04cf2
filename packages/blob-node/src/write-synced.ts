import { open } from "node:fs/promises";

/** Writes a small file and fsyncs it, readable by its owner only. */
export async function writeSynced(path: string, text: string): Promise<void> {
  await using file = await open(path, "w", 0o600);
  await file.writeFile(text);
  await file.sync();
}
