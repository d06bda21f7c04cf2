import { open, readFile, rm } from "node:fs/promises";
import { uptime } from "node:os";
import { join } from "node:path";
import type { Logger } from "@meridian/runtime";

/** What the mark of a folder says. */
interface Mark {
  /** The start of the machine under which the store was last open. */
  readonly boot: string;
  /** True when it was synced and closed, and nothing was written since. */
  readonly clean: boolean;
}

const MARK = "boot.json";

/**
 * Makes a folder ready for a store that is never synced while it is open. What the kernel holds survives any death of
 * the process, but not of the machine: a store that was open when the machine went down is dropped whole, because
 * nobody can say which of its pages reached the disk.
 *
 *     <path>/boot.json    {"boot": "<which start of the machine>", "clean": false}, synced before the first write
 */
export async function enterVolatileFolder(path: string, log: Logger | undefined): Promise<void> {
  const boot = await bootId();
  const mark = await readMark(path);
  if (mark !== undefined && !mark.clean && mark.boot !== boot) {
    log?.warn("dropped a store that was open when the machine went down; it is made again", { path });
  }
  if (mark === undefined || (!mark.clean && mark.boot !== boot)) {
    for (const file of ["data.mdb", "lock.mdb"]) await rm(join(path, file), { force: true });
  }
  await writeMark(path, { boot, clean: false });
}

/** To be called when the store has been synced and closed. */
export async function leaveVolatileFolder(path: string): Promise<void> {
  await writeMark(path, { boot: await bootId(), clean: true });
}

async function readMark(path: string): Promise<Mark | undefined> {
  try {
    const { boot, clean } = JSON.parse(await readFile(join(path, MARK), "utf8")) as Partial<Mark>;
    return typeof boot === "string" && typeof clean === "boolean" ? { boot, clean } : undefined;
  } catch {
    return undefined;
  }
}

async function writeMark(path: string, mark: Mark): Promise<void> {
  await using file = await open(join(path, MARK), "w", 0o600);
  await file.writeFile(JSON.stringify(mark));
  await file.sync();
}

/** Differs after each start of the machine; where the system does not tell, the second in which it started. */
async function bootId(): Promise<string> {
  try {
    return (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim();
  } catch {
    // Wrong after a change of the wall clock: then a store is made again that need not have been.
    return `second-${Math.round((Date.now() / 1000 - uptime()) / 10)}`;
  }
}
