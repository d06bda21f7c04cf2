import { type EventLogs, openEmbeddedLogs, openNatsLogs } from "@meridian/eventlog";
import { isContentError } from "@meridian/oci";
import type { Clock, Logger, Random, Timers } from "@meridian/runtime";
import type { ProcessIdentity } from "./identity.ts";
import type { SiteConfig, SiteSecrets } from "./site-config.ts";

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

function openOnce(
  config: SiteConfig,
  inputs: {
    readonly identity: ProcessIdentity;
    readonly secrets: SiteSecrets;
    readonly clock: Clock;
    readonly timers: Timers;
    readonly random: Random;
    readonly log: Logger;
  },
): Promise<EventLogs> {
  const { identity, secrets, clock, timers, random, log } = inputs;
  const { site, process } = identity.topology;
  const writer = `${site}/${process}`;
  if (config.log.driver === "embedded") {
    return openEmbeddedLogs({ path: identity.folder("log"), site, writer, clock, timers, random, log });
  }
  const { servers, user, replicas, durableAcks } = config.log;
  const pass = secrets.natsPassword;
  const login = user === undefined || pass === undefined ? {} : { user, pass };
  return openNatsLogs({ servers, site, writer, clock, timers, random, log, replicas, durableAcks, ...login });
}
