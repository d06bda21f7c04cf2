import type { Clock, Random, Timers } from "@meridian/runtime";
import type { DiskTiming, MemoryDisk } from "./embedded/memory-disk.ts";
import { openLogsOf } from "./embedded/open-embedded-logs.ts";
import type { EventLogs } from "./event-log.ts";

export { createMemoryDisk, type DiskTiming, type MemoryDisk } from "./embedded/memory-disk.ts";

/** Settings of {@link openMemoryLogs}. */
export interface MemoryLogsOptions {
  readonly disk: MemoryDisk;
  readonly timing: DiskTiming;
  readonly site: string;
  readonly writer: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly timers: Timers;
}

/** The embedded driver itself, on a disk in memory instead of an LMDB file: for simulations. */
export function openMemoryLogs({ disk, timing, ...options }: MemoryLogsOptions): Promise<EventLogs> {
  return openLogsOf(disk.openFile(timing), options);
}
