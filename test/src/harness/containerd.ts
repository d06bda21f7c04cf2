import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { until } from "./until.ts";

/** A containerd of the test's own: its folders, its socket, no CRI; content and the native snapshotter only. */
export class Containerd implements AsyncDisposable {
  /** Where its socket is. */
  readonly address: string;
  readonly #dir: string;
  readonly #child: ChildProcess;

  private constructor(dir: string) {
    this.#dir = dir;
    this.address = join(dir, "c.sock");
    const config = join(dir, "config.toml");
    writeFileSync(
      config,
      `version = 2
root = "${join(dir, "root")}"
state = "${join(dir, "state")}"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "${this.address}"
[ttrpc]
  address = "${this.address}.ttrpc"
`,
    );
    const log = openSync(join(dir, "log"), "w");
    this.#child = spawn("containerd", ["--config", config], { stdio: ["ignore", log, log] });
    this.#child.on("error", () => {});
  }

  /** @throws Error with its log unless `answers` succeeds in time; it is given the address. */
  static async start(answers: (address: string) => Promise<unknown>): Promise<Containerd> {
    // A Unix socket's path may have 107 bytes: kept out of the test's deeper folders.
    const dir = mkdtempSync(join(tmpdir(), "ctrd-"));
    mkdirSync(join(dir, "root"));
    const made = new Containerd(dir);
    try {
      await until("containerd answers", () => answers(made.address), 30_000);
      return made;
    } catch (error) {
      const log = readFileSync(join(dir, "log"), "utf8");
      await made[Symbol.asyncDispose]();
      throw new Error(`containerd did not start:\n${log}`, { cause: error });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const child = this.#child;
    if (child.exitCode === null && child.signalCode === null && child.pid !== undefined) {
      const ended = new Promise((done) => child.once("exit", done));
      child.kill("SIGTERM");
      await ended;
    }
    rmSync(this.#dir, { recursive: true, force: true, maxRetries: 5 });
  }
}
