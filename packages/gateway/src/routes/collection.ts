import { type Peers, Role, type Topology } from "@meridian/cluster";
import { isContentError } from "@meridian/oci";
import type { Decider } from "@meridian/policy";
import type { ServiceClient } from "@meridian/rpc";
import { collectionV1 } from "@meridian/wire";
import { z } from "zod";
import type { Access } from "../access.ts";
import { type AnswerHeaders, CacheControl, sendJson } from "../answer.ts";
import type { Exchange } from "../exchange.ts";
import type { ResourceHandlers } from "../handler.ts";
import { readJson } from "../json-body.ts";
import { parseQuery } from "../query.ts";
import { Refusal, unavailable } from "../refusal.ts";
import type { SiteProxy } from "../site-proxy.ts";

interface CollectionParts {
  readonly access: Access;
  readonly answers: AnswerHeaders;
  readonly topology: Topology;
  readonly peers: Peers;
  readonly proxy: SiteProxy;
  readonly decider: Pick<Decider, "revision">;
}

const TIMEOUT_MS = 5_000;

/** At least one of the two. */
const controlSchema = z
  .strictObject({
    action: z.enum(["start", "dry-run", "pause", "resume"]).optional(),
    /** Blobs a second from now on. */
    rate: z.int().min(1).max(1_000_000).optional(),
  })
  .refine(({ action, rate }) => action !== undefined || rate !== undefined, "action or rate is wanted");

const { START, DRY_RUN, PAUSE, RESUME, UNSPECIFIED } = collectionV1.CollectionAction;
const ACTIONS = { start: START, "dry-run": DRY_RUN, pause: PAUSE, resume: RESUME } as const;

const STATES: Readonly<Record<collectionV1.CollectionState, string>> = {
  [collectionV1.CollectionState.UNSPECIFIED]: "unknown",
  [collectionV1.CollectionState.IDLE]: "idle",
  [collectionV1.CollectionState.RUNNING]: "running",
  [collectionV1.CollectionState.PAUSED]: "paused",
  [collectionV1.CollectionState.WAITING]: "waiting",
  [collectionV1.CollectionState.STANDBY]: "standby",
};

/**
 * `/v2/_meridian/collection?site=us`: GET tells what the site's collection does, waits for and found; POST with
 * `{"action":"start|dry-run|pause|resume","rate":1000}` tells it what to do. Without `site`: this one. For administrators.
 */
export function collectionRoute(parts: CollectionParts): ResourceHandlers {
  return {
    GET: (exchange) => handle(exchange, parts, (collector) => collector.status({}, { timeoutMs: TIMEOUT_MS })),
    POST: (exchange) =>
      handle(exchange, parts, async (collector) => {
        const { action, rate = 0 } = await readJson(exchange, controlSchema);
        const request = { action: action === undefined ? UNSPECIFIED : ACTIONS[action], blobsPerSecond: rate };
        const { status } = await collector.control(request, { timeoutMs: TIMEOUT_MS });
        if (status === undefined) throw unavailable("the collection gave no answer");
        return status;
      }),
  };
}

type Collector = ServiceClient<typeof collectionV1.CollectionService>;

async function handle(
  exchange: Exchange,
  parts: CollectionParts,
  ask: (collector: Collector) => Promise<collectionV1.StatusResponse>,
): Promise<void> {
  await requireAdmin(exchange, parts);
  const { topology, proxy, answers } = parts;
  const site = parseQuery(exchange.query).get("site") ?? topology.site;
  if (!topology.sites.includes(site))
    throw new Refusal("UNSUPPORTED", `there is no site of that name: ${topology.sites.join(", ")}`, { status: 404 });
  if (site !== topology.site) return await proxy.pass(exchange, site);
  const status = await ask(collectorOf(parts)).catch((error: unknown) => {
    if (isContentError(error, "precondition"))
      throw new Refusal("UNSUPPORTED", error.message, { status: 409, cause: error });
    if (isContentError(error, "unavailable"))
      throw unavailable("the collector of this site does not answer", { cause: error });
    throw error;
  });
  sendJson(exchange, 200, [...answers.fixed, "Cache-Control", CacheControl.never], describe(status));
}

async function requireAdmin(exchange: Exchange, { access, decider }: CollectionParts): Promise<void> {
  const principal = await access.admitAny(exchange);
  if (access.decide(exchange, principal, { resource: { kind: "registry" }, action: "admin" }).allow) return;
  throw new Refusal("DENIED", "only an administrator may look after the collection", {
    headers: ["Meridian-Policy-Revision", decider.revision],
  });
}

/** A replicator of this site that lives: it passes on what another one is at work for. */
function collectorOf({ peers, topology }: CollectionParts): Collector {
  const [address] = peers.processes(Role.replicator, topology.site);
  if (address === undefined) throw unavailable("this site has no replicator");
  return peers.client(collectionV1.CollectionService, address);
}

/** Times in RFC 3339, null for none. */
function describe(status: collectionV1.StatusResponse) {
  return {
    site: status.site,
    state: STATES[status.state],
    waitingFor: status.silent,
    rate: status.blobsPerSecond,
    graceMs: Number(status.graceMs),
    nextAt: time(status.nextMs),
    pass: status.pass === undefined ? null : describePass(status.pass),
  };
}

function describePass(pass: collectionV1.Pass) {
  return {
    dryRun: pass.dryRun,
    startedAt: time(pass.startedMs),
    finishedAt: time(pass.finishedMs),
    phase: pass.phase,
    failure: pass.failure,
    links: tally(pass.links),
    manifests: tally(pass.manifests),
    blobs: tally(pass.blobs),
    inGrace: {
      links: tally(pass.linksInGrace),
      manifests: tally(pass.manifestsInGrace),
      blobs: tally(pass.blobsInGrace),
    },
    blobsSeen: Number(pass.blobsSeen),
    blobsNeeded: Number(pass.blobsNeeded),
    deletions: Number(pass.deletions),
    repositories: pass.repositories.map(({ repository, links, manifests, blobs }) => ({
      ...{ repository, links: tally(links), manifests: tally(manifests), blobs: tally(blobs) },
    })),
  };
}

function tally(found: collectionV1.Tally | undefined): { count: number; bytes: number } {
  return { count: Number(found?.count ?? 0n), bytes: Number(found?.bytes ?? 0n) };
}

function time(ms: bigint): string | null {
  return ms === 0n ? null : new Date(Number(ms)).toISOString();
}
