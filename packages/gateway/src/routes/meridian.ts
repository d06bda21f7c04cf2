import { type Catalog, tryFromWireDigest } from "@meridian/catalog";
import type { SiteMonitor, Topology } from "@meridian/cluster";
import { type Digest, parseReference, tryParseDigest } from "@meridian/oci";
import type { Decider } from "@meridian/policy";
import { type Access, repositoryNeed } from "../access.ts";
import { type AnswerHeaders, CacheControl, sendJson } from "../answer.ts";
import type { BlobSources, VisibleBlob } from "../blob-sources.ts";
import type { Exchange } from "../exchange.ts";
import type { FindContent } from "../find-content.ts";
import { type ResourceHandlers, whenReady } from "../handler.ts";
import { parseQuery } from "../query.ts";
import type { ReceiptQuestion, Receipts, SiteReceipt } from "../receipts.ts";
import { Refusal } from "../refusal.ts";

interface MeridianParts {
  readonly access: Access;
  readonly answers: AnswerHeaders;
  readonly catalog: Catalog;
  readonly decider: Decider;
  readonly find: FindContent;
  readonly sources: BlobSources;
  readonly receipts: Receipts;
  readonly topology: Topology;
  readonly monitor: SiteMonitor;
}

/** A receipt that waits longer than this is refused: the client asks again. */
const MAX_WAIT_MS = 15 * 60_000;
const DEFAULT_WAIT_MS = 60_000;

/** `GET /v2/<name>/_meridian/replication/<reference>?wait=us,ap&timeout=60s`: what each site holds of an image; 504 when the wait runs out. */
export function replicationRoute(parts: MeridianParts): ResourceHandlers {
  const { access, receipts } = parts;
  return {
    GET: async (exchange, { name, reference }) => {
      await access.admit(exchange, repositoryNeed(name, "pull"));
      const query = parseQuery(exchange.query);
      const sites = sitesOf(query.get("wait"), parts.topology, "wait");
      const timeoutMs = durationOf(query.get("timeout"));
      const question = await resolve(name, reference, parts);
      if (sites.length === 0) {
        sendReceipts(exchange, 200, question, await receipts.ask(question, exchange.signal), parts);
        return;
      }
      const waited = await receipts.wait(question, { sites, timeoutMs, signal: exchange.signal });
      sendReceipts(exchange, waited.complete ? 200 : 504, question, waited.sites, parts);
    },
  };
}

function sendReceipts(
  exchange: Exchange,
  status: number,
  { repository, digest }: ReceiptQuestion,
  sites: readonly SiteReceipt[],
  { answers, catalog }: MeridianParts,
): void {
  const absent = absentOf(repository, digest, catalog);
  sendJson(
    exchange,
    status,
    [...answers.fixed, "Cache-Control", CacheControl.never, "Meridian-Version", answers.version()],
    { sites, ...(absent.length === 0 ? {} : { absent }) },
  );
}

/** What the image names and nobody pushed: no site waits for it. Its subject, and children that a sparse registry took it without. */
function absentOf(repository: string, digest: Digest, catalog: Catalog): readonly Digest[] {
  const { absent } = catalog.contents(repository, digest);
  const subject = catalog.manifest(repository, digest)?.value?.subject;
  const named = subject === undefined ? undefined : tryFromWireDigest(subject.digest);
  return named === undefined || catalog.manifest(repository, named) !== undefined ? absent : [named, ...absent];
}

async function resolve(
  name: string,
  reference: string,
  { catalog, find, answers }: MeridianParts,
): Promise<ReceiptQuestion> {
  const asked = parseReference(reference);
  if (asked.kind === "digest") {
    await find.manifest(name, asked.digest);
    return { repository: name, digest: asked.digest, tag: "" };
  }
  const digest = catalog.tag(name, asked.tag)?.digest;
  if (digest === undefined) {
    throw new Refusal("MANIFEST_UNKNOWN", `repository ${name} has no tag ${asked.tag}`, { headers: answers.behind() });
  }
  return { repository: name, digest, tag: asked.tag };
}

/** Members by name; `*` stands for all. */
function sitesOf(listed: string | null, topology: Topology, parameter: "wait" | "without"): readonly string[] {
  if (listed === null || listed === "") return [];
  if (listed === "*") return topology.sites;
  const names = listed.split(",").map((name) => name.trim());
  const strangers = names.filter((name) => !topology.sites.includes(name));
  if (strangers.length === 0) return names;
  throw new Refusal(
    "UNSUPPORTED",
    `${parameter} names no members of this cluster: ${strangers.join(", ").slice(0, 200)}`,
    {
      status: 400,
      detail: { sites: topology.sites },
    },
  );
}

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000 };

/** `500ms`, `60s`, `2m`, or seconds without a unit, in milliseconds. */
function durationOf(text: string | null): number {
  if (text === null) return DEFAULT_WAIT_MS;
  const match = /^(\d{1,9})(ms|s|m)?$/.exec(text);
  const ms = match === null ? Number.NaN : Number(match[1]) * (UNITS[match[2] ?? "s"] ?? 1);
  if (ms <= MAX_WAIT_MS) return ms;
  throw new Refusal("UNSUPPORTED", "timeout must be a duration of at most 15 minutes, like 60s", { status: 400 });
}

/**
 * `GET /v2/<name>/_meridian/route/<digest>`: where the bytes of a digest would come from, and why; with
 * `?without=eu,us` where from if those sites were lost.
 */
export function routeRoute(parts: MeridianParts): ResourceHandlers {
  const { access, sources, topology, answers } = parts;
  return {
    GET: async (exchange, { name, reference }) => {
      await access.admit(exchange, repositoryNeed(name, "pull"));
      const digest = tryParseDigest(reference);
      if (digest === undefined) throw new Refusal("DIGEST_INVALID", "not a sha256 or sha512 digest");
      const blob = await visible(name, digest, parts);
      const without = new Set(sitesOf(parseQuery(exchange.query).get("without"), topology, "without"));
      const { holders, candidates } = sources.order(blob, without);
      const headers = [...answers.fixed, "Cache-Control", CacheControl.never];
      sendJson(exchange, 200, headers, { digest, site: topology.site, chosen: holders[0] ?? null, candidates });
    },
  };
}

async function visible(name: string, digest: Digest, { catalog, find }: MeridianParts): Promise<VisibleBlob> {
  return catalog.manifest(name, digest) ?? (await find.blob(name, digest));
}

/** `GET /v2/_meridian/status`: the cluster as this gateway sees it. */
export function statusRoute({ access, answers, catalog, decider, topology, monitor }: MeridianParts): ResourceHandlers {
  return {
    GET: (exchange) =>
      whenReady(access.admitAny(exchange), () => {
        const sites = topology.sites.map((name) => {
          const { state, rttMs, failing } = monitor.health(name);
          const gateways = gatewaysOf(name, topology);
          return name === topology.site
            ? { name, state: "live", rttMs: 0, failing: [], gateways }
            : { name, state, rttMs: rttMs ?? null, failing, gateways };
        });
        sendJson(
          exchange,
          200,
          [...answers.fixed, "Cache-Control", CacheControl.never, "Meridian-Version", answers.version()],
          {
            cluster: topology.cluster,
            site: topology.site,
            process: topology.process,
            ready: catalog.ready,
            version: catalog.version(),
            restoring: catalog.life.restoring ?? null,
            policy: { revision: decider.revision, ageMs: Math.round(decider.ageMs()) },
            sites,
          },
        );
      }),
  };
}

/** Origins of the site's gateways, as clients call them. */
function gatewaysOf(site: string, { processes }: Topology): string[] {
  return processes.flatMap((one) => (one.site === site && one.edge !== undefined ? [one.edge] : []));
}
