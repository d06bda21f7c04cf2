import { createLinkDirection, type LinkDirection } from "./link-direction.ts";
import { startLinkProxy } from "./link-proxy.ts";
import type { RunLink } from "./run-file.ts";

/** The simulated network between sites: one pair of directions per pair of sites, and proxies that use them. */
export interface LinkFabric extends AsyncDisposable {
  /** Starts a proxy that `from` dials to reach `target` (host:port) at `to`; resolves with the proxy's host:port. */
  proxy(from: string, to: string, target: string): Promise<string>;
  /** @throws Error when the pair is unknown. `oneWay`: only what the first site sends to the second. */
  cut(pair: string, options: { oneWay?: boolean; reset?: boolean }): void;
  heal(pair: string, options: { oneWay?: boolean }): void;
  /** Round trip, half of it each way. */
  delay(pair: string, rttMs: number): void;
  /** Bytes a second in each direction; undefined lifts the limit. */
  limit(pair: string, bytesPerSecond: number | undefined): void;
  /** Makes the links of a site that comes to the others. */
  addSite(site: string): void;
  report(): RunLink[];
}

export function createLinkFabric(parameters: {
  readonly sites: readonly string[];
  readonly host: string;
  readonly rttMs: Readonly<Record<string, number>>;
}): LinkFabric {
  const { host } = parameters;
  const sites: string[] = [];
  const directions = new Map<string, LinkDirection>();
  const stack = new AsyncDisposableStack();
  const addSite = (site: string): void => {
    if (sites.includes(site)) return;
    for (const other of sites) {
      directions.set(`${site}>${other}`, createLinkDirection());
      directions.set(`${other}>${site}`, createLinkDirection());
    }
    sites.push(site);
  };
  for (const site of parameters.sites) addSite(site);
  const direction = (from: string, to: string): LinkDirection => {
    const found = directions.get(`${from}>${to}`);
    if (found === undefined) throw new Error(`no link ${from}-${to}; sites are ${sites.join(", ")}`);
    return found;
  };
  const ends = (pair: string): [string, string] => splitPair(pair, sites);
  const both = (pair: string, oneWay = false): LinkDirection[] => {
    const [a, b] = ends(pair);
    return oneWay ? [direction(a, b)] : [direction(a, b), direction(b, a)];
  };
  for (const [pair, rtt] of Object.entries(parameters.rttMs)) {
    for (const one of both(pair)) one.delayMs = rtt / 2;
  }
  /** A table that is written again, because a node was added, keeps its addresses. */
  const proxies = new Map<string, string>();
  return {
    addSite,
    async proxy(from, to, target) {
      const key = `${from} ${to} ${target}`;
      const known = proxies.get(key);
      if (known !== undefined) return known;
      const proxy = await startLinkProxy({ host, target, out: direction(from, to), back: direction(to, from) });
      stack.use(proxy);
      proxies.set(key, proxy.address);
      return proxy.address;
    },
    cut(pair, { oneWay, reset }) {
      for (const one of both(pair, oneWay)) one.cut(reset === true);
    },
    heal(pair, { oneWay }) {
      for (const one of both(pair, oneWay)) one.heal();
    },
    delay(pair, rttMs) {
      for (const one of both(pair)) one.delayMs = rttMs / 2;
    },
    limit(pair, bytesPerSecond) {
      for (const one of both(pair)) one.bytesPerSecond = bytesPerSecond;
    },
    report() {
      return [...directions].map(([key, one]) => {
        const [from = "", to = ""] = key.split(">");
        return {
          from,
          to,
          state: one.isCut ? "cut" : "up",
          rttMs: one.delayMs + direction(to, from).delayMs,
          bytes: one.bytes,
        };
      });
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** Splits "A-B" where both are sites; site names may hold dashes themselves. @throws Error when no split fits. */
export function splitPair(pair: string, sites: readonly string[]): [string, string] {
  for (const a of sites) {
    const b = pair.slice(a.length + 1);
    if (pair.startsWith(`${a}-`) && a !== b && sites.includes(b)) return [a, b];
  }
  throw new Error(`no link "${pair}": name two of ${sites.join(", ")} as A-B`);
}
