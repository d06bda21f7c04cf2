import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { ReadTarget } from "./peers/peer.ts";

const run = promisify(execFile);

/** What a load generator did. */
export interface Load {
  readonly perSecond: number;
  readonly requests: number;
}

/** One run of wrk, HTTP/1.1: 1 thread, 32 connections. @throws Error unless every answer is 2xx. */
export async function wrk(target: ReadTarget, seconds: number): Promise<Load> {
  const { stdout } = await run("wrk", [
    "-t1",
    "-c32",
    `-d${seconds}s`,
    "--timeout",
    "30s",
    ...fields(target),
    target.url,
  ]);
  if (/Non-2xx|Socket errors/.test(stdout)) throw new Error(`wrk ${target.url}:\n${stdout}`);
  return read(stdout, /Requests\/sec:\s+([\d.]+)/, /(\d+) requests in/);
}

/** One run of h2load, HTTP/2 over TLS: 4 connections with 8 streams each. @throws Error unless every answer is 2xx. */
export async function h2load(target: ReadTarget, seconds: number): Promise<Load> {
  const args = ["-t1", "-c4", "-m8", `-D${seconds}`, "--warm-up-time=0", ...fields(target), target.url];
  const { stdout } = await run("h2load", args);
  if (!/status codes: \d+ 2xx, 0 3xx, 0 4xx, 0 5xx/.test(stdout)) throw new Error(`h2load ${target.url}:\n${stdout}`);
  return read(stdout, /finished in [^,]+, ([\d.]+) req\/s/, /status codes: (\d+) 2xx/);
}

function fields({ headers }: ReadTarget): string[] {
  return Object.entries(headers).flatMap(([name, value]) => ["-H", `${name}: ${value}`]);
}

function read(output: string, rate: RegExp, count: RegExp): Load {
  const perSecond = Number(rate.exec(output)?.[1]);
  const requests = Number(count.exec(output)?.[1]);
  if (Number.isNaN(perSecond) || Number.isNaN(requests)) throw new Error(`no rate in:\n${output}`);
  return { perSecond, requests };
}
