import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import {
  AlreadyRunningError,
  type DevCluster,
  type DevOptions,
  PortTakenError,
  splitPair,
  startDevCluster,
} from "@meridian/dev";
import { createLogger, createSystemClock, systemTimers } from "@meridian/runtime";
import { parse } from "yaml";
import { CommandError, failure, usageError } from "../exit-status.ts";
import { homeFolder } from "../home-folder.ts";
import type { CommonOptions } from "../program/command.ts";

/** The command line of `meridian dev` as commander gives it. */
interface DevFlags extends CommonOptions {
  readonly sites: string;
  readonly host: string;
  readonly basePort: number;
  readonly http?: boolean;
  readonly anonymous?: "pull" | "admin";
  readonly nats?: boolean;
  readonly blobNodes: number;
  readonly gateways: number;
  readonly replicators: number;
  readonly links?: boolean;
  readonly rtt?: string;
  readonly redis?: string;
  readonly otlp?: string;
  readonly s3?: string;
  readonly config?: string;
}

const READY_TIMEOUT_MS = 60_000;
const DEFAULT_SITES = ["eu", "us", "ap", "sa", "af", "au", "ca", "in", "jp", "uk", "de", "fr"];

export async function runDev(flags: DevFlags): Promise<void> {
  const options = devOptions(flags);
  await checkRedis(options.redisUrl);
  const log = createLogger({ level: flags.logLevel, format: "text", fields: {} });
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.abort(new Error(signal)));
  await using cluster = await startCluster(options, log);
  say(flags, `starting ${options.sites.length} sites in ${options.home}`);
  const timeout = AbortSignal.timeout(READY_TIMEOUT_MS);
  try {
    await Promise.race([
      cluster.ready({ signal: AbortSignal.any([timeout, stop.signal]), onProgress: (message) => say(flags, message) }),
      aborted(stop.signal),
    ]);
  } catch (error) {
    if (!stop.signal.aborted) throw failure(error instanceof Error ? error.message : String(error), { cause: error });
  }
  if (!stop.signal.aborted) {
    announce(flags, options, cluster);
    await aborted(stop.signal);
  }
  say(flags, "stopping");
}

async function startCluster(options: DevOptions, log: ReturnType<typeof createLogger>): Promise<DevCluster> {
  try {
    return await startDevCluster({
      options,
      serve: { executable: process.execPath, args: [...process.execArgv, resolve(process.argv[1] ?? "")] },
      clock: createSystemClock(),
      timers: systemTimers,
      log,
    });
  } catch (error) {
    if (error instanceof CommandError) throw error;
    if (error instanceof PortTakenError || error instanceof AlreadyRunningError)
      throw usageError(error.message, { cause: error });
    throw usageError(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

function announce(flags: DevFlags, options: DevOptions, cluster: DevCluster): void {
  if (flags.json)
    return void process.stdout.write(`${JSON.stringify({ state: "ready", home: options.home })}\nready\n`);
  const first = cluster.plan.sites[0];
  const last = cluster.plan.sites.at(-1);
  if (first === undefined || last === undefined) return;
  const host = (gateway: string): string => gateway.replace(/^https?:\/\//, "");
  const trust = options.http ? "--%s-tls-verify=false" : `--%s-cert-dir ${join(options.home, "certs.d", "%h")}`;
  const flag = (side: string, gateway: string): string => trust.replace("%s", side).replace("%h", host(gateway));
  const login = `admin:$(cat ${cluster.adminPasswordFile})`;
  const lines = [
    "",
    ...cluster.plan.sites.map((site) => `  ${site.name.padEnd(4)} ${site.gateway}`),
    "",
    `  CA certificate   ${cluster.caFile}`,
    `  admin password   ${cluster.adminPasswordFile} (user admin)`,
    "",
    "Push at one site, pull at another:",
    `  skopeo copy ${flag("dest", first.gateway)} --dest-creds "${login}" oci:IMAGE docker://${host(first.gateway)}/demo/app:v1`,
    `  skopeo copy ${flag("src", last.gateway)} --src-creds "${login}" docker://${host(last.gateway)}/demo/app:v1 oci:COPY`,
    "",
    "Break it:  npx pnpm meridian site kill eu   (and: site start eu, status, --help)",
    "",
    "ready",
  ];
  if (options.anonymous !== "none") {
    process.stderr.write(
      `WARNING: --anonymous ${options.anonymous}: anybody on this machine may ${options.anonymous === "admin" ? "do everything" : "pull"} without login\n`,
    );
  }
  process.stdout.write(`${lines.join("\n")}\n`);
}

function say(flags: DevFlags, message: string): void {
  if (!flags.json) process.stdout.write(`${message}\n`);
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    if (signal.aborted) return done();
    // Something must keep the process alive meanwhile: the supervisor's own timers do not.
    const alive = setInterval(() => {}, 1 << 30);
    signal.addEventListener("abort", () => {
      clearInterval(alive);
      done();
    });
  });
}

/** The supervisor needs no more of limits than this, and only when asked. The URL is not repeated: it may hold a password. */
async function checkRedis(url: string | undefined): Promise<void> {
  if (url === undefined) return;
  const { redisConfigSchema } = await import("@meridian/limits");
  const { error } = redisConfigSchema.safeParse({ url });
  if (error) throw usageError(error.issues.map(({ message }) => `--redis: the URL ${message}`).join("\n"));
}

/** Checks the flags against each other. @throws CommandError (exit code 2) with one line per problem. */
export function devOptions(flags: DevFlags): DevOptions {
  const problems: string[] = [];
  const sites = siteNames(flags.sites, problems);
  const rttMs = parseRtt(flags.rtt, sites, problems);
  const loopback = ["127.0.0.1", "::1", "localhost"].includes(flags.host);
  if (flags.http && !loopback)
    problems.push("--http is for loopback addresses only: leave it out, or use --host 127.0.0.1");
  if (flags.anonymous !== undefined && !loopback) problems.push("--anonymous is for loopback addresses only");
  if (!flags.nats && (flags.blobNodes > 1 || flags.gateways > 1 || flags.replicators > 1))
    problems.push("--blob-nodes, --gateways and --replicators above 1 need --nats");
  const s3Url = flags.s3 === undefined ? undefined : s3Origin(flags.s3, problems);
  const overlay = flags.config === undefined ? undefined : readOverlay(flags.config, problems);
  if (problems.length > 0) throw usageError(problems.join("\n"));
  return {
    home: homeFolder(flags),
    sites,
    host: flags.host === "localhost" ? "127.0.0.1" : flags.host,
    basePort: flags.basePort,
    http: flags.http === true,
    anonymous: flags.anonymous ?? "none",
    nats: flags.nats === true,
    blobNodes: flags.blobNodes,
    gateways: flags.gateways,
    replicators: flags.replicators,
    links: flags.links === true || flags.rtt !== undefined,
    rttMs,
    ...(flags.redis === undefined ? {} : { redisUrl: flags.redis }),
    ...(flags.otlp === undefined ? {} : { otlpUrl: flags.otlp }),
    ...(s3Url === undefined ? {} : { s3Url }),
    ...(overlay === undefined ? {} : { overlay }),
    logLevel: flags.logLevel,
  };
}

function siteNames(text: string, problems: string[]): string[] {
  const count = Number(text);
  const names = Number.isInteger(count) ? DEFAULT_SITES.slice(0, count) : text.split(",");
  const bad = names.filter((name) => !/^[a-z][a-z0-9-]{0,30}$/.test(name));
  if (names.length === 0 || bad.length > 0 || new Set(names).size !== names.length || count > DEFAULT_SITES.length) {
    problems.push(
      `--sites ${text}: a number from 1 to ${DEFAULT_SITES.length}, or different names of a-z, 0-9 and dashes, are wanted`,
    );
  }
  return names;
}

function parseRtt(text: string | undefined, sites: readonly string[], problems: string[]): Record<string, number> {
  const rttMs: Record<string, number> = {};
  for (const part of text?.split(",") ?? []) {
    const [pair = "", ms = ""] = part.split("=");
    try {
      splitPair(pair, sites);
      if (!/^\d{1,5}$/.test(ms)) throw new Error(`"${part}" gives no milliseconds`);
      rttMs[pair] = Number(ms);
    } catch (error) {
      problems.push(`--rtt: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return rttMs;
}

function s3Origin(text: string, problems: string[]): string | undefined {
  const missing = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].filter((name) => !process.env[name]);
  if (missing.length > 0) problems.push(`--s3 needs credentials: set ${missing.join(" and ")}`);
  const url = URL.parse(text);
  if (url !== null && /^https?:$/.test(url.protocol) && url.pathname === "/" && url.username === "") return url.origin;
  problems.push("--s3: the origin of an S3 service is wanted, as in http://127.0.0.1:9000");
  return undefined;
}

function readOverlay(path: string, problems: string[]): Record<string, unknown> | undefined {
  try {
    const value: unknown = parse(readFileSync(path, "utf8"));
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
    problems.push(`--config ${path}: a YAML mapping is wanted`);
  } catch (error) {
    problems.push(`--config ${path}: ${error instanceof Error ? error.message : String(error)}`);
  }
  return undefined;
}
