import type { SiteHealth, SiteMonitor } from "./peers.ts";
import { parseNodeName, type Topology } from "./topology.ts";

/** One node that says it holds a blob, as route choice saw it: also what the route explanation shows. */
export interface RouteCandidate {
  readonly site: string;
  /** The process's name inside its site. */
  readonly node: string;
  readonly state: SiteHealth["state"];
  /** Milliseconds; null until measured. */
  readonly rttMs: number | null;
  /** The cost of asking it, in milliseconds with penalties added: the lowest is asked first. */
  readonly score: number;
  /** True when it is not asked at all. */
  readonly excluded: boolean;
  /** Why it stands where it stands, in words. */
  readonly reasons: readonly string[];
}

/** Holders in the order in which to ask them, and why. */
export interface HolderOrder {
  /** Full names (site/process), best first; those excluded are left out. */
  readonly ordered: string[];
  /** All holders, best first. */
  readonly candidates: RouteCandidate[];
}

const UNMEASURED_RTT_MS = 500;
const FAILING_PENALTY_MS = 1_000;
const STATE_PENALTY_MS = { live: 0, suspect: 10_000, unknown: 20_000, down: 100_000 } as const;

/**
 * Orders the nodes that hold a blob: own site first, then live sites by round trip, suspect and unknown ones after,
 * and those of a site that is down only when nothing better is left. Ties keep the order in which holders were given.
 * `exclude` names nodes not to be asked (they failed this request), `without` sites that are to count as lost; `loadMs` adds a node's load to its cost.
 */
export function orderHolders(options: {
  readonly holders: readonly string[];
  readonly monitor: Pick<SiteMonitor, "health">;
  readonly topology: Topology;
  readonly exclude?: ReadonlySet<string>;
  readonly without?: ReadonlySet<string>;
  readonly loadMs?: (node: string) => number;
}): HolderOrder {
  const weighed = [...new Set(options.holders)].map((name) => ({ name, candidate: weigh(name, options) }));
  const better = weighed.some(({ candidate }) => !candidate.excluded && candidate.state !== "down");
  const settled = weighed.map(({ name, candidate }) =>
    better && candidate.state === "down" && !candidate.excluded
      ? { name, candidate: { ...candidate, excluded: true, reasons: [...candidate.reasons, "others are alive"] } }
      : { name, candidate },
  );
  settled.sort(
    (a, b) => Number(a.candidate.excluded) - Number(b.candidate.excluded) || a.candidate.score - b.candidate.score,
  );
  return {
    ordered: settled.filter(({ candidate }) => !candidate.excluded).map(({ name }) => name),
    candidates: settled.map(({ candidate }) => candidate),
  };
}

function weigh(
  name: string,
  { monitor, topology, exclude, without, loadMs }: Omit<Parameters<typeof orderHolders>[0], "holders">,
): RouteCandidate {
  const parsed = parseNodeName(name) ?? { site: "", process: name };
  const health = monitor.health(parsed.site);
  const own = parsed.site === topology.site;
  const refusal = without?.has(parsed.site)
    ? "its site counts as lost here"
    : refusalOf(name, parsed, topology, exclude);
  const reasons = refusal === undefined ? [] : [refusal];
  reasons.push(own ? "own site" : `site is ${health.state}`);
  if (!own && health.rttMs === undefined) reasons.push("round trip not measured");
  if (health.failing.length > 0) reasons.push(`site reports failing: ${health.failing.join(", ")}`);
  const load = loadMs?.(name) ?? 0;
  if (load > 0) reasons.push(`load ${Math.round(load)} ms`);
  const score =
    (own ? 0 : (health.rttMs ?? UNMEASURED_RTT_MS) + STATE_PENALTY_MS[health.state]) +
    (!own && health.failing.length > 0 ? FAILING_PENALTY_MS : 0) +
    load;
  const rttMs = own ? 0 : (health.rttMs ?? null);
  const state = own ? "live" : health.state;
  return { site: parsed.site, node: parsed.process, state, rttMs, score, excluded: refusal !== undefined, reasons };
}

/** Why the node cannot be asked at all; undefined when it can. */
function refusalOf(
  name: string,
  { site, process }: { site: string; process: string },
  topology: Topology,
  exclude: ReadonlySet<string> | undefined,
): string | undefined {
  if (exclude?.has(name)) return "failed this request";
  const address = topology.processes.find((listed) => listed.site === site && listed.process === process);
  if (address === undefined) return "not in the topology";
  return address.bytes === undefined ? "has no byte listener" : undefined;
}
