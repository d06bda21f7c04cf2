import assert from "node:assert/strict";
import { test } from "node:test";
import type { SiteHealth } from "./peers.ts";
import { orderHolders } from "./route.ts";
import type { Topology } from "./topology.ts";

const sites = ["eu", "us", "ap", "sa"];
const topology: Topology = {
  cluster: "c",
  site: "eu",
  process: "site",
  sites,
  processes: sites.map((site, index) => ({
    site,
    process: "site",
    roles: ["gateway", "blob-node"],
    grpc: `h:${index + 1}`,
    bytes: `https://h:${index + 11}`,
  })),
};

function monitorOf(known: Record<string, Partial<SiteHealth>>): { health(site: string): SiteHealth } {
  return { health: (site) => ({ site, state: "unknown", failing: [], ...known[site] }) };
}

const order = (holders: string[], known: Record<string, Partial<SiteHealth>>, exclude?: ReadonlySet<string>) =>
  orderHolders({ holders, topology, monitor: monitorOf(known), ...(exclude && { exclude }) });

test("own site first, then live ones by round trip, suspect ones last", () => {
  const known = {
    us: { state: "suspect", rttMs: 1 },
    ap: { state: "live", rttMs: 160 },
    sa: { state: "live", rttMs: 90 },
  } as const;
  assert.deepEqual(order(["us/site", "ap/site", "sa/site", "eu/site"], known).ordered, [
    "eu/site",
    "sa/site",
    "ap/site",
    "us/site",
  ]);
});

test("a site that is down is left out when another can be asked, and asked when none can", () => {
  const known = { us: { state: "down", rttMs: 10 }, ap: { state: "suspect" } } as const;
  const { ordered, candidates } = order(["us/site", "ap/site"], known);
  assert.deepEqual(ordered, ["ap/site"]);
  const us = candidates.find(({ site }) => site === "us");
  assert.equal(us?.excluded, true);
  assert.deepEqual(us?.reasons, ["site is down", "others are alive"]);
  assert.deepEqual(order(["us/site"], known).ordered, ["us/site"]);
  assert.deepEqual(order(["us/site", "ap/site"], known, new Set(["ap/site"])).ordered, ["us/site"]);
});

test("nodes that failed the request or that nobody knows are excluded with the reason", () => {
  const { ordered, candidates } = order(
    ["xx/site", "eu/site", "us/other", "us/site"],
    { us: { state: "live", rttMs: 5 } },
    new Set(["eu/site"]),
  );
  assert.deepEqual(ordered, ["us/site"]);
  assert.deepEqual(
    candidates
      .filter(({ excluded }) => excluded)
      .map(({ site, node, reasons }) => `${site}/${node} ${reasons[0]}`)
      .sort(),
    ["eu/site failed this request", "us/other not in the topology", "xx/site not in the topology"],
  );
});

test("a candidate says all that the explanation shows", () => {
  const known = { us: { state: "live", rttMs: 82.5, failing: ["storage"] } } as const;
  const { candidates } = orderHolders({ holders: ["us/site"], topology, monitor: monitorOf(known), loadMs: () => 7 });
  assert.deepEqual(candidates, [
    {
      site: "us",
      node: "site",
      state: "live",
      rttMs: 82.5,
      score: 1_089.5,
      excluded: false,
      reasons: ["site is live", "site reports failing: storage", "load 7 ms"],
    },
  ]);
});
