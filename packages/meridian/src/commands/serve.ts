import { ConfigError, createLogger, explainListenError, runService } from "@meridian/runtime";
import { CommandError } from "../exit-status.ts";
import { loadSite } from "../process/load-site.ts";
import { openProcess } from "../process/open-process.ts";
import type { CommonOptions } from "../program/command.ts";

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
  const onClose = (): void => void process.kill(process.pid, "SIGTERM");
  // A process that stops lets go of it: it must neither keep the process alive nor count as a second signal.
  const letGo = (): void => {
    process.stdin.off("close", onClose);
    process.stdin.destroy();
  };
  process.stdin.resume();
  process.stdin.once("close", onClose);
  process.once("SIGTERM", letGo);
  process.once("SIGINT", letGo);
}

/** What an operator has to mend (an address in use, wrong roles) ends with exit code 2, like a bad configuration. */
function rethrow(error: unknown, source: string): never {
  if (error instanceof CommandError) throw new ConfigError(source, error.message.split("\n"), { cause: error });
  const problem = listenProblem(error);
  if (problem !== undefined) throw new ConfigError(source, [problem], { cause: error });
  throw error;
}

/** What keeps an address from being listened on, in one line; undefined for any other error. */
function listenProblem(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  if (error.message.startsWith("cannot listen on ")) return error.message;
  const { syscall, address, port } = error as NodeJS.ErrnoException & { address?: string; port?: number };
  return syscall === "listen" ? explainListenError(`${address}:${port}`, error) : undefined;
}
