import { execFileSync } from "node:child_process";
import type { Timers } from "@meridian/runtime";
import { readRunFile } from "./run-file.ts";

/** Another supervisor holds the data folder. */
export class AlreadyRunningError extends Error {
  override readonly name = "AlreadyRunningError";
}

/**
 * Ends what a supervisor that was killed left running, after checking that each process is really one of this data
 * folder's (its command line names the folder).
 * @throws AlreadyRunningError when that supervisor still lives.
 */
export async function endLeftovers(home: string, timers: Timers): Promise<number> {
  const run = readRunFile(home);
  if (run === undefined) return 0;
  if (
    run.supervisor !== process.pid &&
    commandLine(run.supervisor)?.includes("meridian") &&
    isSupervisor(run.supervisor)
  ) {
    throw new AlreadyRunningError(
      `a cluster already runs on ${home} (process ${run.supervisor}): stop it first, or choose another --home`,
    );
  }
  const left = run.sites.flatMap((site) => site.processes).filter((one) => commandLine(one.pid)?.includes(home));
  for (const one of left) signal(one.pid, "SIGKILL");
  for (let waited = 0; waited < 5_000 && left.some((one) => isAlive(one.pid)); waited += 50) await timers.sleep(50);
  return left.length;
}

function isSupervisor(pid: number): boolean {
  return / dev( |$)/.test(commandLine(pid) ?? "");
}

/** Undefined when there is no such process. */
function commandLine(pid: number): string | undefined {
  try {
    return execFileSync("ps", ["-ww", "-o", "command=", "-p", String(pid)], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
  } catch {
    return undefined;
  }
}

function isAlive(pid: number): boolean {
  return signal(pid, 0);
}

function signal(pid: number, which: NodeJS.Signals | 0): boolean {
  try {
    process.kill(pid, which);
    return true;
  } catch {
    return false;
  }
}
