import { type DevCommand, type RunFile, sendCommand } from "@meridian/dev/control";
import { failure, usageError } from "../exit-status.ts";
import type { CommonOptions } from "../program/command.ts";
import { runningCluster } from "../running-cluster.ts";

export async function siteFault(verb: "stop" | "kill" | "start", site: string, options: CommonOptions): Promise<void> {
  const run = await ask({ command: `site-${verb}`, site }, options);
  const state = run.sites.find((one) => one.name === site)?.state;
  print(options, run, `site ${site}: ${verb === "start" ? "starting" : state}`);
}

export async function processFault(
  verb: "stop" | "kill" | "start",
  name: string,
  options: CommonOptions & { hold?: boolean },
): Promise<void> {
  const command: DevCommand =
    verb === "kill"
      ? { command: "process-kill", process: name, hold: options.hold === true }
      : { command: `process-${verb}`, process: name };
  const done =
    verb === "kill"
      ? `killed${options.hold ? ", stays down" : ", will be started again"}`
      : verb === "stop"
        ? "stopped"
        : "started";
  print(options, await ask(command, options), `${name}: ${done}`);
}

export async function linkCut(
  pair: string,
  options: CommonOptions & { oneWay?: boolean; reset?: boolean },
): Promise<void> {
  const run = await ask(
    { command: "link-cut", pair, oneWay: options.oneWay === true, reset: options.reset === true },
    options,
  );
  print(options, run, `link ${pair}: cut${options.oneWay ? ` (what ${pair.split("-")[0]} sends)` : ""}`);
}

export async function linkHeal(pair: string, options: CommonOptions & { oneWay?: boolean }): Promise<void> {
  print(
    options,
    await ask({ command: "link-heal", pair, oneWay: options.oneWay === true }, options),
    `link ${pair}: up`,
  );
}

export async function linkDelay(pair: string, ms: string, options: CommonOptions): Promise<void> {
  const rttMs = Number(ms);
  if (ms.trim() === "" || !(rttMs >= 0 && rttMs <= 60_000))
    throw usageError(`"${ms}" is not a round trip: milliseconds from 0 to 60000 are wanted`);
  print(options, await ask({ command: "link-delay", pair, rttMs }, options), `link ${pair}: ${rttMs} ms round trip`);
}

export async function linkLimit(pair: string, rate: string, options: CommonOptions): Promise<void> {
  const bytesPerSecond = parseRate(rate);
  const command: DevCommand = {
    command: "link-limit",
    pair,
    ...(bytesPerSecond === undefined ? {} : { bytesPerSecond }),
  };
  print(
    options,
    await ask(command, options),
    `link ${pair}: ${bytesPerSecond === undefined ? "no limit" : `${bytesPerSecond} bytes a second`}`,
  );
}

export async function clockSkew(site: string, ms: string, options: CommonOptions): Promise<void> {
  if (!/^[+-]?\d{1,9}$/.test(ms))
    throw usageError(`"${ms}" is not a shift: whole milliseconds such as +5000 are wanted`);
  const offsetMs = Number(ms);
  print(options, await ask({ command: "clock-skew", site, offsetMs }, options), `clock of ${site}: ${offsetMs} ms off`);
}

const UNITS: Readonly<Record<string, number>> = {
  "": 1,
  B: 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  KIB: 1024,
  MIB: 1024 ** 2,
  GIB: 1024 ** 3,
};

/** Bytes a second of "20MB", "512KiB" …; undefined for "none". @throws CommandError (exit code 2) for anything else. */
export function parseRate(text: string): number | undefined {
  if (text === "none") return undefined;
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]*?)(?:\/s)?$/i.exec(text.trim());
  const unit = UNITS[(match?.[2] ?? "?").toUpperCase()];
  const value = Number(match?.[1]) * (unit ?? Number.NaN);
  if (!(value > 0)) throw usageError(`"${text}" is not a rate: 20MB, 512KiB or none is wanted`);
  return value;
}

async function ask(command: DevCommand, options: CommonOptions): Promise<RunFile> {
  const { socket } = runningCluster(options);
  try {
    return (await sendCommand(socket, command)) as RunFile;
  } catch (error) {
    throw failure(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

function print(options: CommonOptions, run: RunFile, line: string): void {
  process.stdout.write(options.json ? `${JSON.stringify(run)}\n` : `${line}\n`);
}
