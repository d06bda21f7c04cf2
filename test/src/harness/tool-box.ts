import { execFile } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CommandResult, DevProcess } from "./dev-process.ts";

const TIMEOUT_MS = 120_000;

/**
 * A home folder for client programs: what they trust, their logins and their storage are in it and go with it. The
 * programs run with their own defaults; only where they keep things is set, and a storage driver that works in any
 * container.
 */
export class ToolBox implements Disposable {
  readonly dir: string;
  readonly #cluster: DevProcess;
  readonly #env: Readonly<Record<string, string>>;

  constructor(cluster: DevProcess) {
    this.#cluster = cluster;
    this.dir = mkdtempSync(join(tmpdir(), "meridian-tools-"));
    for (const name of ["run", "tmp", "docker"]) mkdirSync(this.path(name), { mode: 0o700 });
    this.#env = {
      HOME: this.dir,
      TMPDIR: this.path("tmp"),
      XDG_RUNTIME_DIR: this.path("run"),
      CONTAINERS_STORAGE_CONF: this.path("storage.conf"),
      CONTAINERS_CONF: this.path("containers.conf"),
      DOCKER_CONFIG: this.path("docker"),
      SSL_CERT_FILE: join(cluster.home, "ca.pem"),
    };
    this.#configureContainersTools();
  }

  /** A place in the folder. */
  path(...parts: string[]): string {
    return join(this.dir, ...parts);
  }

  /** Runs a program to its end; never rejects. */
  run(program: string, args: readonly string[], options: { input?: string } = {}): Promise<CommandResult> {
    return new Promise((done) => {
      const child = execFile(
        program,
        [...args],
        { env: { ...process.env, ...this.#env }, cwd: this.dir, maxBuffer: 64 * 1024 * 1024, timeout: TIMEOUT_MS },
        (error, stdout, stderr) => {
          const code = error === null ? 0 : typeof error.code === "number" ? error.code : -1;
          done({ code, stdout, stderr: code === -1 ? `${stderr}\n${error?.message}` : stderr });
        },
      );
      // A program that ends without reading what it is given is no failure of the test's own.
      child.stdin?.on("error", () => {});
      child.stdin?.end(options.input ?? "");
    });
  }

  /** Runs a program that must succeed; resolves with what it printed, trimmed. @throws Error with its stderr otherwise. */
  async ok(program: string, ...args: string[]): Promise<string> {
    return this.#expectOk(program, args, await this.run(program, args));
  }

  /** Runs a program's login command with the admin's password on its standard input. */
  async login(program: string, ...args: string[]): Promise<string> {
    const result = await this.run(program, args, { input: this.#cluster.adminPassword });
    return this.#expectOk(program, args, result);
  }

  /** Runs a program that must fail; resolves with all it printed. @throws Error when it succeeds. */
  async fails(program: string, args: readonly string[], options: { input?: string } = {}): Promise<string> {
    const { code, stdout, stderr } = await this.run(program, args, options);
    if (code === 0) throw new Error(`${program} ${args.join(" ")} should have failed:\n${stdout}`);
    return stdout + stderr;
  }

  [Symbol.dispose](): void {
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5 });
  }

  #expectOk(program: string, args: readonly string[], { code, stdout, stderr }: CommandResult): string {
    if (code !== 0) {
      const line = `${program} ${args.join(" ")}`.replaceAll(this.#cluster.adminPassword, "…");
      throw new Error(`${line} ended with ${code}:\n${stderr}${stdout}`);
    }
    return stdout.trim();
  }

  /** For containers/image and containers/storage, which skopeo, buildah and podman share. */
  #configureContainersTools(): void {
    const config = this.path(".config", "containers");
    mkdirSync(config, { recursive: true });
    cpSync(join(this.#cluster.home, "certs.d"), join(config, "certs.d"), { recursive: true });
    writeFileSync(join(config, "policy.json"), JSON.stringify({ default: [{ type: "insecureAcceptAnything" }] }));
    writeFileSync(
      this.path("storage.conf"),
      `[storage]\ndriver = "vfs"\ngraphroot = "${this.path("storage")}"\nrunroot = "${this.path("run", "storage")}"\n`,
    );
    writeFileSync(
      this.path("containers.conf"),
      `[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\n[network]\nnetwork_config_dir = "${this.path("net")}"\n`,
    );
  }
}
