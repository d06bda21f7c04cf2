import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createSystemClock, systemRandom } from "@meridian/runtime";
import type { LogServer } from "../contract.ts";
import type { EventLogs } from "../event-log.ts";
import { openNatsLogs } from "../open-nats-logs.ts";

const START_DEADLINE_MS = 15_000;

/** A nats-server binary, or why there is none. */
export type NatsBinary = { readonly path: string; readonly version: string } | { readonly missing: string };

/** The binary named by the environment variable, else the first of `defaults` that runs with a version that matches. */
export function findNatsServer(variable: string, defaults: readonly string[], version: RegExp): NatsBinary {
  const named = process.env[variable];
  for (const path of named === undefined ? defaults : [named]) {
    try {
      const found = /v(\d+\.\d+\.\d+\S*)/.exec(execFileSync(path, ["--version"], { encoding: "utf8" }))?.[1] ?? "";
      if (version.test(found)) {
        return { path, version: found };
      }
    } catch {
      // Not there: the next one.
    }
  }
  return { missing: `no nats-server ${version.source} (set ${variable})` };
}

/** A nats-server with JetStream on a loopback port of its own, that tests may kill and start again. */
export class NatsServer implements LogServer {
  readonly #binary: string;
  readonly #folder: string;
  #port = -1;
  #process: ChildProcess | undefined;

  private constructor(binary: string, folder: string) {
    this.#binary = binary;
    this.#folder = folder;
  }

  /** `folder`: made by the caller, and removed with the server; one of its own when absent. */
  static async start(binary: string, folder?: string): Promise<NatsServer> {
    const server = new NatsServer(binary, folder ?? (await mkdtemp(join(tmpdir(), "meridian-eventlog-nats-"))));
    await server.#start();
    return server;
  }

  get url(): string {
    return `nats://127.0.0.1:${this.#port}`;
  }

  connect(writer: string, { clock = createSystemClock() } = {}): Promise<EventLogs> {
    return openNatsLogs({ servers: [this.url], site: "eu", writer, clock, random: systemRandom });
  }

  async restart(whileStopped?: (folder: string) => Promise<void>): Promise<void> {
    await this.kill();
    await whileStopped?.(join(this.#folder, "jetstream"));
    await this.#start();
  }

  /** kill -9. */
  async kill(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child !== undefined && child.exitCode === null) {
      child.kill("SIGKILL");
      await once(child, "exit");
    }
  }

  /** Stops the process without closing its connections, as a hung machine does, or lets it go on. */
  pause(paused: boolean): void {
    this.#process?.kill(paused ? "SIGSTOP" : "SIGCONT");
  }

  async #start(): Promise<void> {
    // The first start picks a port; clients of a restarted server know the old one.
    const address = ["--addr", "127.0.0.1", "--port", String(this.#port), "--ports_file_dir", this.#folder];
    const args = [...address, "--jetstream", "--store_dir", this.#folder, "--no_advertise"];
    const child = spawn(this.#binary, args, { stdio: ["ignore", "ignore", "pipe"] });
    this.#process = child;
    let output = "";
    const ready = Promise.withResolvers<void>();
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => {
      output += chunk;
      if (/Server is ready/.test(output)) {
        ready.resolve();
      }
    });
    const failed = (): void => ready.reject(new Error(`${this.#binary} did not start:\n${output}`));
    child.once("exit", failed);
    const timer = setTimeout(failed, START_DEADLINE_MS);
    try {
      await ready.promise;
    } finally {
      clearTimeout(timer);
      child.off("exit", failed);
    }
    this.#port = await this.#portOf(child);
  }

  async #portOf({ pid }: ChildProcess): Promise<number> {
    const deadline = performance.now() + START_DEADLINE_MS;
    while (performance.now() < deadline) {
      const name = (await readdir(this.#folder)).find((file) => file.endsWith(`_${pid}.ports`));
      const content = name === undefined ? "" : await readFile(join(this.#folder, name), "utf8");
      const url = /nats:\/\/127\.0\.0\.1:(\d+)/.exec(content)?.[1];
      if (url !== undefined) {
        return Number(url);
      }
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    throw new Error(`${this.#binary} wrote no ports file`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }
}
