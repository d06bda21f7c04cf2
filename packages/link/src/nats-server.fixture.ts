import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { until } from "./test-site.fixture.ts";

/** The nats-server to test with: MERIDIAN_NATS_SERVER, else the one on PATH; undefined when it does not run. */
export function findNatsServer(): string | undefined {
  const path = process.env.MERIDIAN_NATS_SERVER ?? "nats-server";
  try {
    execFileSync(path, ["--version"]);
    return path;
  } catch {
    return undefined;
  }
}

/** A nats-server with JetStream on a loopback port of its own, which can be killed and started again with its data. */
export class NatsServer implements AsyncDisposable {
  readonly #binary: string;
  readonly #folder: string;
  #port = -1;
  #process: ChildProcess | undefined;

  private constructor(binary: string, folder: string) {
    this.#binary = binary;
    this.#folder = folder;
  }

  static async start(binary: string): Promise<NatsServer> {
    const server = new NatsServer(binary, await mkdtemp(join(tmpdir(), "link-nats-")));
    await server.run();
    return server;
  }

  get url(): string {
    return `nats://127.0.0.1:${this.#port}`;
  }

  async run(): Promise<void> {
    // The first start picks a port; clients of a restarted server know the old one.
    const address = ["--addr", "127.0.0.1", "--port", String(this.#port), "--ports_file_dir", this.#folder];
    const child = spawn(this.#binary, [...address, "--jetstream", "--store_dir", this.#folder], { stdio: "ignore" });
    this.#process = child;
    await until(async () => {
      if (child.exitCode !== null) throw new Error(`${this.#binary} ended with ${child.exitCode}`);
      const name = (await readdir(this.#folder)).find((file) => file.endsWith(`_${child.pid}.ports`));
      const ports = name === undefined ? "" : await readFile(join(this.#folder, name), "utf8");
      this.#port = Number(/nats:\/\/127\.0\.0\.1:(\d+)/.exec(ports)?.[1] ?? -1);
      return this.#port > 0;
    }, "nats-server listens");
  }

  /** kill -9. */
  async kill(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }
}
