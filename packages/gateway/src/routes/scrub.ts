import { nodeName, type Peers, type ProcessAddress, type Topology } from "@meridian/cluster";
import type { Decider } from "@meridian/policy";
import { blobV1 } from "@meridian/wire";
import type { Access } from "../access.ts";
import { type AnswerHeaders, CacheControl, sendJson } from "../answer.ts";
import type { Exchange } from "../exchange.ts";
import type { ResourceHandlers } from "../handler.ts";
import { parseQuery } from "../query.ts";
import { Refusal } from "../refusal.ts";
import type { SiteProxy } from "../site-proxy.ts";

interface ScrubParts {
  readonly access: Access;
  readonly answers: AnswerHeaders;
  readonly topology: Topology;
  readonly peers: Peers;
  readonly proxy: SiteProxy;
  readonly decider: Pick<Decider, "revision">;
}

const ASK_TIMEOUT_MS = 5_000;
const ACTIONS: ReadonlyMap<string | null, blobV1.ScrubAction> = new Map([
  ["start", blobV1.ScrubAction.START],
  ["pause", blobV1.ScrubAction.PAUSE],
]);
const STATES: Readonly<Record<blobV1.ScrubState, string>> = {
  [blobV1.ScrubState.UNSPECIFIED]: "unknown",
  [blobV1.ScrubState.IDLE]: "idle",
  [blobV1.ScrubState.RUNNING]: "running",
  [blobV1.ScrubState.PAUSED]: "paused",
  [blobV1.ScrubState.UNSUPPORTED]: "unsupported",
};

/**
 * `/v2/_meridian/scrub?site=us`: GET tells how far the re-hashing of each blob node's copies has come, and what is wrong
 * with them; POST with `action=start|pause` starts or pauses it. Without `site`: this one. For administrators.
 */
export function scrubRoute(parts: ScrubParts): ResourceHandlers {
  const { topology, peers, answers, proxy } = parts;
  const handle = async (
    exchange: Exchange,
    ask: (address: ProcessAddress) => Promise<Partial<blobV1.ScrubStatusResponse>>,
  ): Promise<void> => {
    await requireAdmin(exchange, parts);
    const site = parseQuery(exchange.query).get("site") ?? topology.site;
    if (!topology.sites.includes(site)) throw badRequest(`there is no site of that name: ${topology.sites.join(", ")}`);
    if (site !== topology.site) return proxy.pass(exchange, site);
    const nodes = await Promise.all(
      peers.processes("blob-node", site).map((address) =>
        ask(address).then(describe, (error: unknown) => ({
          node: nodeName(address),
          state: "unreachable",
          message: error instanceof Error ? error.message : "",
        })),
      ),
    );
    sendJson(exchange, 200, [...answers.fixed, "Cache-Control", CacheControl.never], { site, nodes });
  };
  const control = (address: ProcessAddress) => peers.client(blobV1.BlobNodeService, address);
  return {
    GET: (exchange) => handle(exchange, (address) => control(address).scrubStatus({}, { timeoutMs: ASK_TIMEOUT_MS })),
    POST: (exchange) => {
      const action = ACTIONS.get(parseQuery(exchange.query).get("action"));
      if (action === undefined) throw badRequest("action must be start or pause");
      return handle(exchange, async (address) => {
        const { status } = await control(address).controlScrub({ action }, { timeoutMs: ASK_TIMEOUT_MS });
        return status ?? {};
      });
    },
  };
}

async function requireAdmin(exchange: Exchange, { access, decider }: ScrubParts): Promise<void> {
  const principal = await access.admitAny(exchange);
  if (access.decide(exchange, principal, { resource: { kind: "registry" }, action: "admin" }).allow) return;
  throw new Refusal("DENIED", "only an administrator may look after the sites' copies", {
    headers: ["Meridian-Policy-Revision", decider.revision],
  });
}

/** Times in RFC 3339, null for none. */
function describe(status: Partial<blobV1.ScrubStatusResponse>) {
  const count = (value: bigint | undefined): number => Number(value ?? 0n);
  const time = (ms: bigint | undefined): string | null => (ms ? new Date(Number(ms)).toISOString() : null);
  return {
    node: status.node ?? "",
    state: STATES[status.state ?? blobV1.ScrubState.UNSPECIFIED],
    blobsChecked: count(status.blobsChecked),
    blobsTotal: count(status.blobsTotal),
    bytesChecked: count(status.bytesChecked),
    bytesTotal: count(status.bytesTotal),
    bytesPerSecond: count(status.bytesPerSecond),
    damaged: count(status.damaged),
    lost: count(status.lost),
    quarantined: count(status.quarantined),
    startedAt: time(status.startedMs),
    finishedAt: time(status.finishedMs),
    nextAt: time(status.nextMs),
  };
}

function badRequest(message: string): Refusal {
  return new Refusal("UNSUPPORTED", message, { status: 400 });
}
