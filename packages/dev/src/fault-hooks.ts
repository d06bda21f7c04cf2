import type { SystemClock } from "@meridian/runtime";
import { serveCommands } from "./unix-socket.ts";

/**
 * Takes fault commands inside a service process: only under `faults: true`, only on a Unix socket.
 * `{"skewMs": n}` shifts the process's wall clock.
 */
export function startFaultHooks(parameters: {
  readonly socket: string;
  readonly clock: SystemClock;
}): Promise<AsyncDisposable> {
  return serveCommands(parameters.socket, async (command) => {
    const skewMs = command.skewMs;
    if (typeof skewMs !== "number" || !Number.isSafeInteger(skewMs))
      throw new Error("skewMs: whole milliseconds are wanted");
    parameters.clock.skew(skewMs);
    return { skewMs };
  });
}
