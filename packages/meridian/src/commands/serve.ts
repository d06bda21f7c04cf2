import { ConfigError, createLogger, runService } from "@meridian/runtime";
import type { CommonOptions } from "../command-line.ts";
import { CommandError } from "../exit-status.ts";
import { loadSite } from "../process/load-site.ts";
import { openProcess } from "../process/open-process.ts";

export async function runServe(options: CommonOptions & { config: string; roles?: string }): Promise<void> {
  const loaded = await loadSite(options.config);
  const { config } = loaded;
  const { site, process: name } = config.topology;
  const log = createLogger({ level: config.logLevel, fields: { site, process: name } });
  if (config.supervised) stopWithSupervisor();
  await runService({
    log,
    drainTimeoutMs: config.drainTimeoutMs,
    start: (signal) =>
      openProcess(loaded, { roles: options.roles, log, signal }).catch((error: unknown) =>
        rethrow(error, options.config),
      ),
  });
}

/** The supervisor holds the other end of standard input: when it dies, however it dies, this process ends too. */
function stopWithSupervisor(): void {
  process.stdin.resume();
  process.stdin.once("close", () => process.kill(process.pid, "SIGTERM"));
  // Only an ending supervisor closes it; meanwhile it must not keep a stopping process alive.
  process.once("SIGTERM", () => process.stdin.destroy());
  process.once("SIGINT", () => process.stdin.destroy());
}

/** What an operator has to mend (an address in use, wrong roles) ends with exit code 2, like a bad configuration. */
function rethrow(error: unknown, source: string): never {
  if (error instanceof CommandError) throw new ConfigError(source, error.message.split("\n"), { cause: error });
  if (error instanceof Error && error.message.startsWith("cannot listen on "))
    throw new ConfigError(source, [error.message], { cause: error });
  throw error;
}
