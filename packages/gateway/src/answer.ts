import type { Catalog } from "@meridian/catalog";
import type { SiteMonitor, Topology } from "@meridian/cluster";
import { nodeName } from "@meridian/cluster";
import type { Decider } from "@meridian/policy";
import type { Exchange, HeaderList } from "./exchange.ts";
import { asciiJson } from "./refusal.ts";

/** Cache-Control of answers: what a digest names never changes; everything else is asked again. Nothing is recoded on the way. */
export const CacheControl = {
  digest: "private, max-age=31536000, immutable, no-transform",
  changing: "no-cache, no-transform",
  never: "no-store",
} as const;

/** Headers that every answer carries. */
export interface AnswerHeaders {
  /** Api version and site: known before anything else is. */
  readonly fixed: HeaderList;
  /** This process, as site/process. */
  readonly self: string;
  /** `Meridian-Policy-Age` when the policy is stale; empty otherwise. */
  stale(): HeaderList;
  /** What names may be behind: `Warning` while members cannot be reached, `Meridian-Stale` while this view has not caught up. */
  behind(): HeaderList;
  /** The version token that the answer shows. */
  version(): string;
}

/** Keeps the answer headers true; disposed, it no longer listens to the monitor. */
export function createAnswerHeaders(options: {
  readonly topology: Topology;
  readonly monitor: SiteMonitor;
  readonly catalog: Pick<Catalog, "version" | "ready">;
  readonly decider: Decider;
  readonly maxStalenessMs: number;
}): AnswerHeaders & Disposable {
  const { topology, monitor, catalog, decider, maxStalenessMs } = options;
  let behind = behindHeaders(topology, monitor);
  const subscription = monitor.subscribe(() => {
    behind = behindHeaders(topology, monitor);
  });
  return {
    fixed: ["Docker-Distribution-Api-Version", "registry/2.0", "Meridian-Site", topology.site],
    self: nodeName(topology),
    stale() {
      const age = decider.ageMs();
      return age > maxStalenessMs ? ["Meridian-Policy-Age", String(Math.floor(age / 1000))] : [];
    },
    behind: () => (catalog.ready ? behind : [...behind, "Meridian-Stale", "true"]),
    version: () => catalog.version(),
    [Symbol.dispose]: () => subscription[Symbol.dispose](),
  };
}

function behindHeaders(topology: Topology, monitor: SiteMonitor): HeaderList {
  const away = topology.sites.filter((site) => site !== topology.site && monitor.health(site).state === "down");
  if (away.length === 0) return [];
  return [
    "Warning",
    warning(`site ${topology.site} cannot reach ${away.join(", ")}: what was pushed there lately may be missing here`),
  ];
}

/** A Warning value that clients print (OCI distribution-spec, "Warnings"). */
export function warning(text: string): string {
  return `299 - "${text.replace(/[^\x20-\x7e]|["\\]/g, "'")}"`;
}

/** Sends JSON that is made anew for each request. */
export function sendJson(
  exchange: Exchange,
  status: number,
  headers: HeaderList,
  body: unknown,
  mediaType = "application/json",
): void {
  const text = asciiJson(body);
  exchange.send(status, ["Content-Type", mediaType, "Content-Length", String(text.length), ...headers], text);
}
