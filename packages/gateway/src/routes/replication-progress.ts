import { type Peers, Role, type Topology } from "@meridian/cluster";
import type { Logger } from "@meridian/runtime";
import { replicationV1 } from "@meridian/wire";
import { type Access, repositoryNeed } from "../access.ts";
import { type AnswerHeaders, CacheControl, sendJson } from "../answer.ts";
import type { ResourceHandlers } from "../handler.ts";

interface ProgressParts {
  readonly access: Access;
  readonly answers: AnswerHeaders;
  readonly topology: Topology;
  readonly peers: Peers;
  readonly log: Logger;
}

const TIMEOUT_MS = 3_000;

/**
 * `GET /v2/_meridian/replication`, for administrators, and `GET /v2/<name>/_meridian/replication`, for those who may pull:
 * what each site has still to fetch, from where, how fast, and since when. A site that cannot be asked is "unreachable".
 */
export function replicationProgressRoute(parts: ProgressParts): ResourceHandlers {
  const { access, answers, topology } = parts;
  return {
    GET: async (exchange, { name }) => {
      const need =
        name === "" ? ({ resource: { kind: "registry" }, action: "admin" } as const) : repositoryNeed(name, "pull");
      await access.admit(exchange, need);
      const sites = await Promise.all(topology.sites.map((site) => askSite(site, name, parts)));
      sendJson(exchange, 200, [...answers.fixed, "Cache-Control", CacheControl.never], { sites });
    },
  };
}

async function askSite(name: string, repository: string, { peers, log }: ProgressParts): Promise<object> {
  const [replicator] = peers.processes(Role.replicator, name);
  try {
    if (replicator === undefined) return { name, state: "unreachable" };
    const client = peers.client(replicationV1.ReplicationService, replicator);
    return { name, ...describe(await client.progress({ repository }, { timeoutMs: TIMEOUT_MS })) };
  } catch (error) {
    log.debug("a site did not say what it fetches", { site: name, error });
    return { name, state: "unreachable" };
  }
}

function describe({ links, homeless, poisoned, scanned }: replicationV1.ProgressResponse): object {
  const described = links.map((link) => {
    const bytes = Number(link.bytes);
    const bytesPerSecond = Number(link.bytesPerSecond);
    return {
      from: link.from,
      blobs: Number(link.blobs),
      bytes,
      fetching: Number(link.fetching),
      bytesPerSecond,
      etaMs: bytes === 0 ? 0 : bytesPerSecond === 0 ? null : Math.round((bytes / bytesPerSecond) * 1_000),
      oldestMs: Number(link.oldestMs),
      open: link.open,
      records: Number(link.records),
      recordLagMs: Number(link.recordLagMs),
    };
  });
  const missing = described.some(({ blobs }) => blobs > 0) || homeless > 0n || poisoned.length > 0;
  const state = missing ? "fetching" : scanned ? "complete" : "starting";
  return { state, links: described, homeless: Number(homeless), poisoned };
}
