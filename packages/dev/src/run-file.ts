import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

/** `run.json`: what runs, kept true by the supervisor for tests and for the command line. */
export interface RunFile {
  /** Process id of the supervisor itself. */
  readonly supervisor: number;
  /** The supervisor's command socket. */
  readonly socket: string;
  readonly sites: readonly RunSite[];
  /** One per direction. `bytes` counts what `from` sent to `to`; both directions of every connection are counted. */
  readonly links: readonly RunLink[];
}

export interface RunSite {
  readonly name: string;
  readonly gateway: string;
  readonly admin: string;
  readonly state: "running" | "stopped";
  readonly processes: ReadonlyArray<{ readonly service: string; readonly name: string; readonly pid: number }>;
}

export interface RunLink {
  readonly from: string;
  readonly to: string;
  readonly state: "up" | "cut";
  readonly rttMs: number;
  readonly bytes: number;
}

export function runFilePath(home: string): string {
  return join(home, "run.json");
}

/** Replaces run.json in one step, so that a reader never sees half of it. */
export function writeRunFile(home: string, run: RunFile): void {
  const path = runFilePath(home);
  writeFileSync(`${path}.new`, `${JSON.stringify(run, null, 2)}\n`);
  renameSync(`${path}.new`, path);
}

/** Undefined when there is none, or when it cannot be read as one. */
export function readRunFile(home: string): RunFile | undefined {
  try {
    return JSON.parse(readFileSync(runFilePath(home), "utf8")) as RunFile;
  } catch {
    return undefined;
  }
}
