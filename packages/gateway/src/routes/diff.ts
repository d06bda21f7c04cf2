import { type Peers, Role, type Topology } from "@meridian/cluster";
import { isContentError } from "@meridian/oci";
import type { Decider } from "@meridian/policy";
import type { ServiceClient } from "@meridian/rpc";
import { diffV1 } from "@meridian/wire";
import { z } from "zod";
import type { Access } from "../access.ts";
import { type AnswerHeaders, CacheControl, sendJson } from "../answer.ts";
import type { Exchange } from "../exchange.ts";
import type { ResourceHandlers } from "../handler.ts";
import { readJson } from "../json-body.ts";
import { parseQuery } from "../query.ts";
import { Refusal, unavailable } from "../refusal.ts";
import type { SiteProxy } from "../site-proxy.ts";

interface DiffParts {
  readonly access: Access;
  readonly answers: AnswerHeaders;
  readonly topology: Topology;
  readonly peers: Peers;
  readonly proxy: SiteProxy;
  readonly decider: Pick<Decider, "revision">;
}

const TIMEOUT_MS = 5_000;

const beginSchema = z.strictObject({
  /** Whether what differs is repaired. */
  repair: z.boolean().default(false),
});

const STATES: Readonly<Record<diffV1.DifferenceState, string>> = {
  [diffV1.DifferenceState.UNSPECIFIED]: "unknown",
  [diffV1.DifferenceState.FOUND]: "found",
  [diffV1.DifferenceState.REPAIRED]: "repaired",
  [diffV1.DifferenceState.LEFT]: "left",
};

/**
 * `/v2/_meridian/diff?site=eu&with=us`: POST with `{"repair":true}` begins to compare the two sites, at the first; GET
 * tells how far that is and what it found, null when there was no comparison. Without `site`: this one. For administrators.
 */
export function diffRoute(parts: DiffParts): ResourceHandlers {
  return {
    GET: (exchange) =>
      handle(exchange, parts, async (comparer, other) => {
        const { comparison } = await comparer.show({ other }, { timeoutMs: TIMEOUT_MS });
        return comparison;
      }),
    POST: (exchange) =>
      handle(exchange, parts, async (comparer, other) => {
        const { repair } = await readJson(exchange, beginSchema);
        const { comparison } = await comparer.begin({ other, repair }, { timeoutMs: TIMEOUT_MS });
        return comparison;
      }),
  };
}

type Comparer = ServiceClient<typeof diffV1.ComparisonService>;

async function handle(
  exchange: Exchange,
  parts: DiffParts,
  ask: (comparer: Comparer, other: string) => Promise<diffV1.Comparison | undefined>,
): Promise<void> {
  await requireAdmin(exchange, parts);
  const { topology, proxy, answers } = parts;
  const query = parseQuery(exchange.query);
  const site = query.get("site") ?? topology.site;
  const other = query.get("with") ?? "";
  for (const name of [site, other])
    if (!topology.sites.includes(name))
      throw new Refusal("UNSUPPORTED", `there is no site of that name: ${topology.sites.join(", ")}`, { status: 404 });
  if (site === other) throw new Refusal("UNSUPPORTED", "two sites are wanted, not one twice", { status: 400 });
  if (site !== topology.site) return await proxy.pass(exchange, site);
  const comparison = await ask(comparerOf(parts), other).catch((error: unknown) => {
    if (isContentError(error, "precondition"))
      throw new Refusal("UNSUPPORTED", error.message, { status: 409, cause: error });
    if (isContentError(error, "unavailable"))
      throw unavailable("the replicator of this site does not answer", { cause: error });
    throw error;
  });
  const told = { comparison: comparison === undefined ? null : describe(comparison) };
  sendJson(exchange, 200, [...answers.fixed, "Cache-Control", CacheControl.never], told);
}

async function requireAdmin(exchange: Exchange, { access, decider }: DiffParts): Promise<void> {
  const principal = await access.admitAny(exchange);
  if (access.decide(exchange, principal, { resource: { kind: "registry" }, action: "admin" }).allow) return;
  throw new Refusal("DENIED", "only an administrator may compare sites", {
    headers: ["Meridian-Policy-Revision", decider.revision],
  });
}

/** A replicator of this site that lives: it passes on what another one is at work for. */
function comparerOf({ peers, topology }: DiffParts): Comparer {
  const [address] = peers.processes(Role.replicator, topology.site);
  if (address === undefined) throw unavailable("this site has no replicator");
  return peers.client(diffV1.ComparisonService, address);
}

/** Times in RFC 3339, null for none. */
function describe({ $typeName: _, startedMs, finishedMs, differences, ...comparison }: diffV1.Comparison) {
  const { registers, blobs, messages, found, repaired, underWay, ...words } = comparison;
  return {
    ...{ site: words.site, other: words.other, repair: words.repair, phase: words.phase, failure: words.failure },
    startedAt: time(startedMs),
    finishedAt: time(finishedMs),
    ...{ registers: Number(registers), blobs: Number(blobs), messages: Number(messages) },
    ...{ found: Number(found), repaired: Number(repaired), underWay: Number(underWay) },
    differences: differences.map(({ kind, name, left, right, state, detail }) => ({
      ...{ kind, name, left, right, state: STATES[state], detail },
    })),
  };
}

function time(ms: bigint): string | null {
  return ms === 0n ? null : new Date(Number(ms)).toISOString();
}
