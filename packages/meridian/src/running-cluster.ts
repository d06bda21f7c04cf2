import { type RunFile, readRunFile } from "@meridian/dev/control";
import { usageError } from "./exit-status.ts";
import { homeFolder } from "./home-folder.ts";
import type { CommonOptions } from "./program/command.ts";

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
