import { ConfigError } from "./config.ts";
import type { Logger } from "./logger.ts";

/** What {@link runService} needs. */
export interface RunServiceOptions {
  /** Opens everything. Its signal aborts when the process is told to end before that is done. */
  start(signal: AbortSignal): Promise<AsyncDisposable>;
  readonly log: Logger;
  /** How long closing may take, in milliseconds, before the process is ended without it. */
  readonly drainTimeoutMs: number;
}

/** Exit codes of a service: ended as told; failed; cannot run with this configuration or environment. */
const EXIT = { done: 0, failed: 1, unusable: 2 } as const;
/** What closing still gets after a second signal, in milliseconds. */
const HURRY_MS = 500;

/**
 * Runs a service until SIGINT or SIGTERM, then disposes it once; a second signal shortens what closing may take.
 * Resolves when it is closed. The outcome is `process.exitCode`: 0, 1 when start or close failed, 2 for a ConfigError.
 * The process then ends by itself; only if something still keeps it alive past the deadline is it made to exit.
 */
export async function runService({ start, log, drainTimeoutMs }: RunServiceOptions): Promise<void> {
  const stop = new AbortController();
  const lastResort = createLastResort(log);
  const onSignal = (signal: NodeJS.Signals): void => {
    const again = stop.signal.aborted;
    log.info(again ? "told to end again; hurrying" : "told to end", { signal });
    lastResort.arm(again ? HURRY_MS : drainTimeoutMs);
    stop.abort(new Error(`ended by ${signal}`));
  };
  const onCrash = (error: unknown): void => log.error("uncaught error", { error });
  process.on("SIGINT", onSignal).on("SIGTERM", onSignal).on("uncaughtExceptionMonitor", onCrash);
  process.exitCode = EXIT.done;
  try {
    await runUntil(stop.signal, start, log);
  } catch (error) {
    process.exitCode = error instanceof ConfigError ? EXIT.unusable : EXIT.failed;
    if (error instanceof ConfigError) for (const problem of error.problems) log.error(`${error.source}: ${problem}`);
    else log.error("service failed", { error });
    lastResort.arm(drainTimeoutMs);
  } finally {
    // Signals stay handled: a late one must not cut off what the process still writes while it ends.
    process.off("uncaughtExceptionMonitor", onCrash);
  }
}

async function runUntil(stop: AbortSignal, start: RunServiceOptions["start"], log: Logger): Promise<void> {
  // Listeners for signals do not keep a process alive, and neither do the timers of a service without sockets.
  const keepAlive = setInterval(() => {}, 2 ** 31 - 1);
  try {
    const service = await start(stop).catch((error: unknown) => {
      if (stop.aborted) return undefined;
      throw error;
    });
    if (!stop.aborted) await new Promise((resolve) => stop.addEventListener("abort", resolve, { once: true }));
    await service?.[Symbol.asyncDispose]();
    log.info("ended");
  } finally {
    clearInterval(keepAlive);
  }
}

/** Ends the process when something keeps it alive although all should be closed. Never keeps it alive itself. */
function createLastResort(log: Logger): { arm(ms: number): void } {
  let timer: NodeJS.Timeout | undefined;
  return {
    arm(ms) {
      clearTimeout(timer);
      timer = setTimeout(() => {
        log.error("closing took too long; ending without it", { deadlineMs: ms });
        process.exit(process.exitCode === EXIT.done ? EXIT.failed : process.exitCode);
      }, ms).unref();
    },
  };
}
