import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Requests a second of one wrk run: 1 thread, 32 connections, every answer 2xx or it throws. */
export async function wrk(
  url: string,
  options: { headers?: Readonly<Record<string, string>>; seconds: number },
): Promise<number> {
  const headers = Object.entries(options.headers ?? {}).flatMap(([name, value]) => ["-H", `${name}: ${value}`]);
  const { stdout } = await run("wrk", ["-t1", "-c32", `-d${options.seconds}s`, ...headers, url]);
  if (/Non-2xx|Socket errors/.test(stdout)) throw new Error(`wrk ${url}:\n${stdout}`);
  const match = /Requests\/sec:\s+([\d.]+)/.exec(stdout);
  if (match === null) throw new Error(`wrk ${url} printed no rate:\n${stdout}`);
  return Number(match[1]);
}
