import { resolve } from "node:path";
import { type RunFile, readRunFile } from "@meridian/dev";
import type { CommonOptions } from "./command-line.ts";
import { usageError } from "./exit-status.ts";

/** The dev cluster's data folder: --home, else MERIDIAN_HOME, else .meridian here. */
export function homeFolder(options: Pick<CommonOptions, "home">): string {
  return resolve(options.home ?? process.env.MERIDIAN_HOME ?? ".meridian");
}

/** @throws CommandError (exit code 2) when no dev cluster runs on the folder. */
export function runningCluster(options: Pick<CommonOptions, "home">): RunFile {
  const home = homeFolder(options);
  const run = readRunFile(home);
  if (run === undefined || !isAlive(run.supervisor)) {
    throw usageError(`no dev cluster runs on ${home}: start one with "npx pnpm start", or name its folder with --home`);
  }
  return run;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
