import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { until } from "@meridian/test/harness";

/** A peer's process with a folder of its own; disposing it ends the one and removes the other. */
export class Program implements AsyncDisposable {
  readonly folder: string;
  #child: ChildProcess | undefined;

  constructor(name: string) {
    this.folder = mkdtempSync(join(tmpdir(), `meridian-${name}-`));
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** Resolves once it listens. @throws Error when it ends, or does not within 20 s. */
  async start(command: string, args: readonly string[], port: number, env: NodeJS.ProcessEnv = {}): Promise<void> {
    const child = spawn(command, args, { stdio: "ignore", cwd: this.folder, env: { ...process.env, ...env } });
    this.#child = child;
    await until(
      `${command} listens`,
      async () => {
        if (child.exitCode !== null) throw new Error(`${command} ended with ${child.exitCode}`);
        return await canConnect(port);
      },
      20_000,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const child = this.#child;
    if (child !== undefined && child.exitCode === null) {
      const ended = new Promise((done) => child.once("exit", done));
      child.kill("SIGTERM");
      await ended;
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** True when a program of that name is on PATH. */
export function isOnPath(program: string): boolean {
  try {
    execFileSync("sh", ["-c", `command -v "$0"`, program], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

function canConnect(port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect({ host: "127.0.0.1", port });
    socket.once("connect", () => {
      socket.destroy();
      done(true);
    });
    socket.once("error", () => done(false));
  });
}
