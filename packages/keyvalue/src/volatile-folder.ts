import { writeFileSync } from "node:fs";
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
  /** How many processes in a row died soon after they had opened the store; 0 when absent. */
  readonly deaths?: number;
  /** True when a page of it could not be read. */
  readonly corrupt?: boolean;
}

const MARK = "boot.json";

/** A store that so many processes in a row died with, soon after they had opened it, is dropped where that is allowed. */
const DEADLY = 3;

/**
 * Makes a folder ready for a store that is never synced while it is open. What the kernel holds survives any death of
 * the process, but not of the machine: a store that was open when the machine went down is dropped whole, because
 * nobody can say which of its pages reached the disk.
 *
 *     <path>/boot.json    {"boot": "<which start of the machine>", "clean": false}, synced before the first write
 *
 * A damaged file may end the process that reads it, before anybody can say so: with `droppable` a store is also dropped
 * when it was found to be corrupt, or three processes in a row died soon after they had opened it.
 */
export async function enterVolatileFolder(
  path: string,
  { droppable, log }: { readonly droppable: boolean; readonly log: Logger | undefined },
): Promise<void> {
  const boot = await bootId();
  const mark = await readMark(path);
  const died = mark !== undefined && !mark.clean;
  const deaths = died && droppable ? (mark.deaths ?? 0) + 1 : 0;
  const why =
    died && mark.boot !== boot
      ? "was open when the machine went down"
      : droppable && mark?.corrupt
        ? "could not be read"
        : deaths >= DEADLY
          ? "was open when one process after the other died"
          : undefined;
  if (why !== undefined) log?.warn(`dropped a store that ${why}; it is made again`, { path });
  if (mark === undefined || why !== undefined) {
    for (const file of ["data.mdb", "lock.mdb"]) await rm(join(path, file), { force: true });
  }
  await writeMark(path, { boot, clean: false, deaths: why === undefined ? deaths : 0 });
}

/** To be called when the store has been open for a while and nothing came of it. */
export async function trustVolatileFolder(path: string): Promise<void> {
  await writeMark(path, { boot: await bootId(), clean: false });
}

/** To be called when a page of the store could not be read: it is dropped at the next opening. */
export function condemnVolatileFolder(path: string): void {
  // At once: the process may not live much longer.
  writeFileSync(join(path, MARK), JSON.stringify({ boot: "", clean: true, corrupt: true } satisfies Mark));
}

/** To be called when the store has been synced and closed. */
export async function leaveVolatileFolder(path: string): Promise<void> {
  await writeMark(path, { boot: await bootId(), clean: true });
}

async function readMark(path: string): Promise<Mark | undefined> {
  try {
    const { boot, clean, deaths, corrupt } = JSON.parse(await readFile(join(path, MARK), "utf8")) as Partial<Mark>;
    if (typeof boot !== "string" || typeof clean !== "boolean") return undefined;
    return { boot, clean, ...(typeof deaths === "number" && { deaths }), ...(corrupt === true && { corrupt }) };
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
