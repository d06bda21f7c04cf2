import type { CatalogWriter } from "@meridian/catalog";
import type { Peers, SiteMonitor, Topology } from "@meridian/cluster";
import type { Digest } from "@meridian/oci";
import type { Logger } from "@meridian/runtime";
import { type recordV1, siteV1 } from "@meridian/wire";

/** Who could not be asked. */
export interface LookupOutcome {
  /** Members that gave no answer: a digest that nobody else knows may still be theirs. */
  readonly unasked: readonly string[];
  /** True when somebody knew something that this process could not take in, as on a full disk. */
  readonly unlearned: boolean;
}

/** Asks the other members what they know of digests that this site's view does not show. */
export interface Lookup {
  /** Asks every live member once, in parallel, and folds what they answer into this process's view. Never throws. */
  ask(repository: string, digests: readonly Digest[]): Promise<LookupOutcome>;
}

/** Added to a member's round trip; an answer later than that is no answer. Milliseconds. */
const GRACE_MS = 300;
const UNMEASURED_RTT_MS = 500;
/** Digests in one call: keeps an answer well below the message limit of gRPC. */
const BATCH = 500;

/** Concurrent questions for the same digests of a repository share one round. */
export function createLookup(options: {
  readonly topology: Topology;
  readonly peers: Peers;
  readonly monitor: SiteMonitor;
  readonly catalog: Pick<CatalogWriter, "learn">;
  readonly log: Logger;
}): Lookup {
  const underWay = new Map<string, Promise<LookupOutcome>>();
  return {
    ask(repository, digests) {
      const key = `${repository} ${digests.join(" ")}`;
      const running = underWay.get(key);
      if (running !== undefined) return running;
      const asked = askAll(repository, digests, options).finally(() => underWay.delete(key));
      underWay.set(key, asked);
      return asked;
    },
  };
}

type Members = Parameters<typeof createLookup>[0];

async function askAll(repository: string, digests: readonly Digest[], members: Members): Promise<LookupOutcome> {
  const { topology, monitor, catalog, log } = members;
  const others = topology.sites.filter((site) => site !== topology.site);
  const answers = await Promise.all(
    others.map(async (site) => {
      // A suspect member costs its time-out; the answer then names it instead.
      if (monitor.health(site).state !== "live") return { site, records: undefined };
      return { site, records: await askSite(site, repository, digests, members) };
    }),
  );
  const records = answers.flatMap((answer) => answer.records ?? []);
  let unlearned = false;
  try {
    if (records.length > 0) await catalog.learn(records);
  } catch (error) {
    unlearned = true;
    log.warn("what another member answered could not be folded", { repository, error });
  }
  return { unasked: answers.filter((answer) => answer.records === undefined).map(({ site }) => site), unlearned };
}

/** What one member knows; undefined when it could not be asked. */
async function askSite(
  site: string,
  repository: string,
  digests: readonly Digest[],
  { peers, monitor, log }: Members,
): Promise<recordV1.Record[] | undefined> {
  const [gateway] = peers.processes("gateway", site);
  if (gateway === undefined) return undefined;
  const timeoutMs = (monitor.health(site).rttMs ?? UNMEASURED_RTT_MS) + GRACE_MS;
  try {
    const client = peers.client(siteV1.SiteService, gateway);
    const responses = await Promise.all(
      batches(digests).map((batch) => client.lookup({ repository, digests: batch }, { timeoutMs })),
    );
    return responses.flatMap((response) => response.records);
  } catch (error) {
    monitor.report(site, "failed");
    log.debug("a member could not be asked", { site, repository, error });
    return undefined;
  }
}

function batches(digests: readonly Digest[]): Digest[][] {
  const made: Digest[][] = [];
  for (let i = 0; i < digests.length; i += BATCH) made.push(digests.slice(i, i + BATCH));
  return made;
}
