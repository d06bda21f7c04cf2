import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { S3Credentials, S3Place } from "./s3-settings.ts";

const START_DEADLINE_MS = 60_000;

/** The keys of every MinIO that tests start. */
export const MINIO_CREDENTIALS: S3Credentials = { accessKeyId: "meridian", secretAccessKey: "meridian-secret" };

/** Why there is no `minio` to run; false when there is. For `{ skip }`. */
export function minioMissing(): string | false {
  try {
    execFileSync("minio", ["--version"], { stdio: "ignore" });
    return false;
  } catch {
    return "needs minio on PATH (see .ci/run for the version)";
  }
}

/** A MinIO with a folder and a loopback port of its own, that tests may kill and start again. */
export class Minio implements AsyncDisposable {
  readonly #folder: string;
  readonly #port: number;
  #process: ChildProcess | undefined;
  #buckets = 0;

  private constructor(folder: string, port: number) {
    this.#folder = folder;
    this.#port = port;
  }

  static async start(): Promise<Minio> {
    const minio = new Minio(await mkdtemp(join(tmpdir(), "meridian-minio-")), await freePort());
    await minio.start();
    return minio;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** A bucket that nobody has named yet; it does not exist. */
  newPlace(): S3Place {
    return { endpoint: this.endpoint, bucket: `bucket-${++this.#buckets}`, region: "us-east-1" };
  }

  /** Starts it, and resolves once it answers. */
  async start(): Promise<void> {
    const args = ["server", "--quiet", "--address", `127.0.0.1:${this.#port}`, join(this.#folder, "data")];
    const child = spawn("minio", args, { stdio: ["ignore", "pipe", "pipe"], env: this.#environment() });
    this.#process = child;
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (chunk: string) => {
        output += chunk;
      });
    }
    const deadline = performance.now() + START_DEADLINE_MS;
    while (!(await this.#isReady())) {
      if (child.exitCode !== null || performance.now() > deadline) throw new Error(`minio did not start:\n${output}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** kill -9. */
  async kill(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  }

  /** Stops the process without closing its connections, as a hung machine does, or lets it go on. */
  pause(paused: boolean): void {
    this.#process?.kill(paused ? "SIGSTOP" : "SIGCONT");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }

  async #isReady(): Promise<boolean> {
    try {
      const { ok } = await fetch(`${this.endpoint}/minio/health/ready`);
      return ok;
    } catch {
      return false;
    }
  }

  #environment(): NodeJS.ProcessEnv {
    return {
      PATH: process.env.PATH,
      HOME: this.#folder,
      MINIO_ROOT_USER: MINIO_CREDENTIALS.accessKeyId,
      MINIO_ROOT_PASSWORD: MINIO_CREDENTIALS.secretAccessKey,
      MINIO_BROWSER: "off",
      MINIO_UPDATE: "off",
      // A key of its own, for encryption on the server's side.
      MINIO_KMS_SECRET_KEY: `tests:${Buffer.alloc(32, 7).toString("base64")}`,
    };
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
