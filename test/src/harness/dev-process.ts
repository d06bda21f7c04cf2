import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { canBind } from "./free-ports.ts";
import { OciClient } from "./oci-client.ts";

const root = resolve(import.meta.dirname, "../../..");
const entry = join(root, "packages/meridian/src/main.ts");
const READY_TIMEOUT_MS = 90_000;

/** The parts of run.json that tests read. */
export interface RunFile {
  readonly sites: ReadonlyArray<{
    readonly name: string;
    readonly gateway: string;
    readonly admin: string;
    readonly state: "running" | "stopped";
    readonly processes: ReadonlyArray<{ readonly service: string; readonly name: string; readonly pid: number }>;
  }>;
  readonly links: ReadonlyArray<{
    readonly from: string;
    readonly to: string;
    readonly state: string;
    readonly rttMs: number;
    readonly bytes: number;
  }>;
}

export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A dev cluster started by the real command in a folder of its own, and stopped by SIGINT. */
export class DevProcess implements AsyncDisposable {
  readonly home: string;
  readonly #args: readonly string[];
  readonly basePort: number;
  #child: ChildProcess | undefined;
  #output = "";
  readonly #clients = new Map<string, OciClient>();

  private constructor(home: string, basePort: number, args: readonly string[]) {
    this.home = home;
    this.basePort = basePort;
    this.#args = args;
  }

  static async start(...args: string[]): Promise<DevProcess> {
    const home = mkdtempSync(join(tmpdir(), "meridian-test-"));
    const cluster = new DevProcess(home, await freeBasePort(), args);
    try {
      await cluster.start();
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
    return cluster;
  }

  get output(): string {
    return this.#output;
  }

  get supervisorPid(): number | undefined {
    return this.#child?.pid;
  }

  get run(): RunFile {
    return JSON.parse(readFileSync(join(this.home, "run.json"), "utf8")) as RunFile;
  }

  get ca(): string {
    return readFileSync(join(this.home, "ca.pem"), "utf8");
  }

  get adminPassword(): string {
    return readFileSync(join(this.home, "admin-password"), "utf8").trim();
  }

  /** The admin's client of a site's first gateway; the same one each time. */
  at(site: string): OciClient {
    const known = this.#clients.get(site);
    if (known !== undefined) return known;
    const client = new OciClient(this.gateway(site), { ca: this.ca, password: this.adminPassword });
    this.#clients.set(site, client);
    return client;
  }

  gateway(site: string): string {
    const found = this.run.sites.find((one) => one.name === site);
    if (found === undefined) throw new Error(`no site ${site} in run.json`);
    return found.gateway;
  }

  pid(site: string, name: string): number {
    const found = this.run.sites.find((one) => one.name === site)?.processes.find((one) => one.name === name);
    if (found === undefined) throw new Error(`no process ${site}/${name} in run.json`);
    return found.pid;
  }

  /** Starts it (again) on the same folder and waits for `ready`, so long at most; resolves with the milliseconds it took. */
  async start(timeoutMs = READY_TIMEOUT_MS): Promise<number> {
    const started = performance.now();
    this.#output = "";
    const child = spawn(
      process.execPath,
      [
        "--conditions=meridian-source",
        entry,
        "dev",
        "--home",
        this.home,
        "--base-port",
        String(this.basePort),
        ...this.#args,
      ],
      { stdio: ["ignore", "pipe", "pipe"] },
    );
    this.#child = child;
    await new Promise<void>((done, failed) => {
      const timer = setTimeout(
        () => failed(new Error(`not ready within ${timeoutMs} ms:\n${this.#output}`)),
        timeoutMs,
      );
      const take = (chunk: Buffer): void => {
        this.#output += chunk.toString();
        if (/^ready$/m.test(this.#output)) {
          clearTimeout(timer);
          done();
        }
      };
      child.stdout.on("data", take);
      child.stderr.on("data", take);
      child.once("exit", (code) => {
        clearTimeout(timer);
        failed(new Error(`ended with ${code} before it was ready:\n${this.#output}`));
      });
    });
    return performance.now() - started;
  }

  /** Runs `meridian …` against it. */
  meridian(...args: string[]): Promise<CommandResult> {
    return runCommand(process.execPath, ["--conditions=meridian-source", entry, ...args, "--home", this.home], {
      XDG_CONFIG_HOME: join(this.home, "config"),
    });
  }

  /** Ends it as Ctrl-C does; the folder stays. */
  async stop(signal: NodeJS.Signals = "SIGINT"): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((done) => child.once("exit", done));
    child.kill(signal);
    await ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const client of this.#clients.values()) client[Symbol.dispose]();
    await this.stop();
    if (process.env.MERIDIAN_KEEP === undefined) rmSync(this.home, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** Runs a program to its end; never rejects. */
export function runCommand(
  program: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<CommandResult> {
  return new Promise((done) => {
    execFile(
      program,
      [...args],
      { env: { ...process.env, ...env }, maxBuffer: 64 * 1024 * 1024, timeout: 300_000 },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === "number" ? error.code : -1;
        done({ code, stdout, stderr: error !== null && stderr === "" ? error.message : stderr });
      },
    );
  });
}

/** A base port whose gateway ports are free, away from those that outgoing connections get. */
async function freeBasePort(): Promise<number> {
  for (let attempt = 0; attempt < 50; attempt++) {
    const base = 10_000 + Math.floor(Math.random() * 1_000) * 10;
    const free = await Promise.all([0, 1, 2, 100, 101, 102].map((offset) => canBind(base + offset)));
    if (free.every(Boolean)) return base;
  }
  throw new Error("no free ports");
}
