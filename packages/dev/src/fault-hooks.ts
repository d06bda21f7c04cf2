import type { SystemClock } from "@meridian/runtime";
import type { CrashPoint } from "./crash-point.ts";
import { serveCommands } from "./unix-socket.ts";

/**
 * Takes fault commands inside a service process: only under `faults: true`, only on a Unix socket.
 * `{"skewMs": n}` shifts the process's wall clock; `{"crashAt": step, "skip": n}` kills it when it reaches that step of a
 * write for the n-th time after the next.
 */
export function startFaultHooks(parameters: {
  readonly socket: string;
  readonly clock: SystemClock;
  readonly crash: CrashPoint;
}): Promise<AsyncDisposable> {
  return serveCommands(parameters.socket, async (command) => {
    if (command.crashAt !== undefined) return { crashAt: parameters.crash.arm(command.crashAt, command.skip) };
    const skewMs = command.skewMs;
    if (typeof skewMs !== "number" || !Number.isSafeInteger(skewMs))
      throw new Error("skewMs: whole milliseconds are wanted");
    parameters.clock.skew(skewMs);
    return { skewMs };
  });
}
