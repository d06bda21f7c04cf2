import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { bracketed, type PlannedProcess } from "./plan.ts";

/** A nats-server program that was found. */
export interface NatsProgram {
  readonly path: string;
  /** E.g. [2, 15, 2]. */
  readonly version: readonly [number, number, number];
}

/** The program named by MERIDIAN_NATS_SERVER, else `nats-server` from PATH. @throws Error that says how to get one. */
export function findNatsServer(env: NodeJS.ProcessEnv = process.env): NatsProgram {
  const path = env.MERIDIAN_NATS_SERVER ?? "nats-server";
  let output: string;
  try {
    output = execFileSync(path, ["--version"], { encoding: "utf8", timeout: 5_000 });
  } catch (cause) {
    throw new Error(
      `--nats needs the program ${path}, which cannot be run: install nats-server 2.9 or later (Debian: apt-get install nats-server) or name it in MERIDIAN_NATS_SERVER`,
      { cause },
    );
  }
  const match = /(\d+)\.(\d+)\.(\d+)/.exec(output);
  if (match === null) throw new Error(`${path} --version prints no version: ${output.slice(0, 100)}`);
  return { path, version: [Number(match[1]), Number(match[2]), Number(match[3])] };
}

/** True when the server can fsync every write before it acknowledges it (`sync_interval: always`, 2.10 and later). */
export function hasSyncAlways(program: NatsProgram): boolean {
  const [major, minor] = program.version;
  return major > 2 || (major === 2 && minor >= 10);
}

/** Writes the server's configuration: loopback, one user, JetStream in the process's data folder. */
export function writeNatsConfig(
  process: PlannedProcess,
  parameters: {
    readonly host: string;
    readonly program: NatsProgram;
    readonly user: string;
    readonly password: string;
  },
): void {
  const { host, program, user, password } = parameters;
  const text = `# Written by meridian dev.
listen: "${bracketed(host)}:${process.port}"
http: "${bracketed(host)}:${process.adminPort}"
server_name: "${process.site}-${process.name}"
jetstream {
  store_dir: "${process.dataDir}"
${hasSyncAlways(program) ? "  sync_interval: always\n" : ""}}
authorization { user: "${user}", password: "${password}" }
max_payload: 1MB
`;
  writeFileSync(process.configFile, text, { mode: 0o600 });
}
