import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync } from "node:fs";
import { dirname } from "node:path";
import type { Logger, Timers } from "@meridian/runtime";

const FIRST_BACKOFF_MS = 200;
const LAST_BACKOFF_MS = 5_000;
/** A process that ran this long starts again without a wait. */
const SETTLED_MS = 10_000;
/** How long a process may take to stop before it is killed. */
const STOP_TIMEOUT_MS = 10_000;

/** How to start one process. */
export interface ChildCommand {
  readonly executable: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly logFile: string;
}

/** A process that is started again, with back-off, whenever it ends by itself. */
export interface SupervisedChild {
  /** Undefined while it does not run. */
  readonly pid: number | undefined;
  /** True between `start` and `stop`, whatever the process itself does. */
  readonly wanted: boolean;
  start(): void;
  /** SIGTERM, then SIGKILL after 10 s; stays down. Resolves once it is gone. */
  stop(): Promise<void>;
  /** SIGKILL. `hold`: stays down until `start`. Resolves once it is gone. */
  kill(options: { hold: boolean }): Promise<void>;
}

export function superviseChild(parameters: {
  readonly name: string;
  readonly command: ChildCommand;
  readonly timers: Timers;
  readonly log: Logger;
  /** Called whenever the process starts or ends. */
  readonly onChange: () => void;
}): SupervisedChild {
  const { name, command, timers, log, onChange } = parameters;
  let child: ChildProcess | undefined;
  let wanted = false;
  let backoffMs = FIRST_BACKOFF_MS;
  let pendingStart: Disposable | undefined;

  const launch = (): void => {
    pendingStart = undefined;
    if (!wanted || child !== undefined) return;
    const startedAt = performance.now();
    const started = spawnLogged(command);
    child = started;
    started.once("error", (error) => log.error(`${name} cannot be started`, { error }));
    started.once("close", (code, signal) => {
      child = undefined;
      if (wanted) {
        backoffMs =
          performance.now() - startedAt > SETTLED_MS ? FIRST_BACKOFF_MS : Math.min(backoffMs * 2, LAST_BACKOFF_MS);
        log.warn(
          `${name} ended (${signal ?? `exit code ${code}`}); starting it again in ${backoffMs} ms; its log: ${command.logFile}`,
        );
        pendingStart = timers.after(backoffMs, launch);
      }
      onChange();
    });
    onChange();
  };
  const gone = (): Promise<void> => {
    const running = child;
    if (running === undefined || running.pid === undefined) return Promise.resolve();
    return new Promise((resolve) => running.once("close", () => resolve()));
  };
  return {
    get pid() {
      return child?.pid;
    },
    get wanted() {
      return wanted;
    },
    start() {
      if (wanted) return;
      wanted = true;
      backoffMs = FIRST_BACKOFF_MS;
      launch();
    },
    async stop() {
      wanted = false;
      pendingStart?.[Symbol.dispose]();
      const ended = gone();
      child?.kill("SIGTERM");
      using _deadline = timers.after(STOP_TIMEOUT_MS, () => void child?.kill("SIGKILL"));
      await ended;
    },
    async kill({ hold }) {
      if (hold) {
        wanted = false;
        pendingStart?.[Symbol.dispose]();
      }
      const ended = gone();
      child?.kill("SIGKILL");
      await ended;
    },
  };
}

function spawnLogged(command: ChildCommand): ChildProcess {
  mkdirSync(dirname(command.logFile), { recursive: true });
  const output = openSync(command.logFile, "a");
  try {
    // Its own process group: Ctrl-C in the terminal reaches the supervisor alone, which stops the others in order.
    // The pipe on standard input closes when the supervisor dies, however it dies.
    return spawn(command.executable, [...command.args], {
      stdio: ["pipe", output, output],
      detached: true,
      env: { ...process.env, ...command.env },
    });
  } finally {
    closeSync(output);
  }
}
