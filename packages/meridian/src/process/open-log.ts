import { readFile } from "node:fs/promises";
import { type EventLogs, openEmbeddedLogs, openNatsLogs } from "@meridian/eventlog";
import { isContentError } from "@meridian/oci";
import type { Clock, Logger, OnPersistStep, Random, Timers } from "@meridian/runtime";
import { usageError } from "../exit-status.ts";
import type { ProcessIdentity } from "./identity.ts";
import type { SiteConfig, SiteSecrets } from "./site-config.ts";

type NatsTls = Extract<SiteConfig["log"], { driver: "nats" }>["tls"];

const RETRY_MS = 200;
/** Attempts between two lines in the log about a server that cannot be reached. */
const ATTEMPTS_PER_LINE = 25;

/** Opens the site's log with the configured driver; waits for its server until the signal aborts. */
export async function openLog(
  config: SiteConfig,
  inputs: Parameters<typeof openOnce>[1] & { readonly signal: AbortSignal },
): Promise<EventLogs> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await openOnce(config, inputs);
    } catch (error) {
      if (!isContentError(error, "unavailable")) throw error;
      if (attempt % ATTEMPTS_PER_LINE === 0)
        inputs.log.warn("the site's log cannot be reached yet; trying again", { error });
      await inputs.timers.sleep(RETRY_MS, { signal: inputs.signal });
    }
  }
}

async function openOnce(
  config: SiteConfig,
  inputs: {
    readonly identity: ProcessIdentity;
    readonly secrets: SiteSecrets;
    readonly clock: Clock;
    readonly timers: Timers;
    readonly random: Random;
    readonly log: Logger;
    readonly onStep?: OnPersistStep;
  },
): Promise<EventLogs> {
  const { identity, secrets, clock, timers, random, log, onStep } = inputs;
  const { site, process } = identity.topology;
  const writer = `${site}/${process}`;
  if (config.log.driver === "embedded") {
    return openEmbeddedLogs({ path: identity.folder("log"), site, writer, clock, timers, random, log, onStep });
  }
  const { servers, user, replicas, durableAcks } = config.log;
  const tls = await readTls(config.log.tls);
  const pass = secrets.natsPassword;
  const login = user === undefined || pass === undefined ? {} : { user, pass };
  return openNatsLogs({ servers, site, writer, clock, timers, random, log, replicas, durableAcks, ...login, ...tls });
}

/** Read at each attempt, so that a certificate that was renewed while the server was away is used. */
async function readTls(files: NatsTls): Promise<{ readonly tls?: Readonly<Record<string, string>> }> {
  if (files === undefined) return {};
  const read = Object.entries(files).map(async ([name, path]) => [name, await readPem(path)] as const);
  return { tls: Object.fromEntries(await Promise.all(read)) };
}

async function readPem(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    throw usageError(`cannot read ${path}, which log.tls names: ${(cause as Error).message}`, { cause });
  }
}
