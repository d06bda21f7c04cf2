import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const START_DEADLINE_MS = 15_000;

/** For `{ skip }`: false when redis-server is on PATH, else the reason; a failure under MERIDIAN_REQUIRE=all. */
export function needsRedis(): string | false {
  try {
    execFileSync("redis-server", ["--version"], { stdio: "ignore" });
    return false;
  } catch {
    const reason = "needs redis-server on PATH";
    if (process.env.MERIDIAN_REQUIRE === "all") throw new Error(reason);
    return reason;
  }
}

/** A redis-server on a loopback port of its own, that tests may kill, stop and start again. */
export class RedisServer implements AsyncDisposable {
  readonly port: number;
  readonly #folder: string;
  readonly #args: readonly string[];
  #process: ChildProcess | undefined;

  private constructor(port: number, folder: string, args: readonly string[]) {
    this.port = port;
    this.#folder = folder;
    this.#args = args;
  }

  static async start(...args: string[]): Promise<RedisServer> {
    const server = new RedisServer(await freePort(), await mkdtemp(join(tmpdir(), "meridian-redis-")), args);
    await server.start();
    return server;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  async start(): Promise<void> {
    const args = ["--port", `${this.port}`, "--bind", "127.0.0.1", "--save", "", "--dir", this.#folder, ...this.#args];
    const child = spawn("redis-server", args, { stdio: ["ignore", "pipe", "ignore"] });
    this.#process = child;
    const ready = Promise.withResolvers<void>();
    let output = "";
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      output += chunk;
      if (output.includes("Ready to accept connections")) ready.resolve();
    });
    const failed = (): void => ready.reject(new Error(`redis-server did not start:\n${output}`));
    child.once("exit", failed);
    const timer = setTimeout(failed, START_DEADLINE_MS);
    try {
      await ready.promise;
    } finally {
      clearTimeout(timer);
      child.off("exit", failed);
    }
  }

  async kill(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.kill("SIGKILL");
    await gone;
  }

  /** Stops the process without closing its connections, as a hung machine does, or lets it go on. */
  pause(paused: boolean): void {
    this.#process?.kill(paused ? "SIGSTOP" : "SIGCONT");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}
