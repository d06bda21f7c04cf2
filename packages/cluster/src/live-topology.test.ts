import assert from "node:assert/strict";
import { test } from "node:test";
import { requireAllAsked } from "./asked-members.ts";
import { createLiveTopology } from "./live-topology.ts";
import { nodeName, type ProcessAddress, type Topology } from "./topology.ts";

const at = (site: string, port: number): ProcessAddress => ({
  site,
  process: "site",
  roles: ["gateway"],
  grpc: `h:${port}`,
});
const table = (...processes: ProcessAddress[]): Topology => ({
  cluster: "c",
  site: "eu",
  process: "site",
  sites: [...new Set(processes.map(({ site }) => site))],
  processes,
});
const named = (...sites: string[]) => sites.map((site) => ({ site, processes: [at(site, 9)] }));

test("members are those of the configuration until the log names them", () => {
  const live = createLiveTopology(table(at("eu", 1), at("us", 2)));
  let changes = 0;
  using _subscription = live.subscribe(() => (changes += 1));
  assert.deepEqual(live.topology.sites, ["eu", "us"]);
  live.update(table(at("eu", 1), at("us", 2), at("ap", 3)));
  assert.deepEqual(live.topology.sites, ["eu", "us", "ap"]);
  live.name(named("eu", "us", "sa"));
  assert.deepEqual(live.topology.sites, ["eu", "us", "sa"]);
  live.update(table(at("eu", 1)));
  assert.deepEqual(live.topology.sites, ["eu", "us", "sa"], "the configuration's list counts no more");
  assert.equal(changes, 2);
});

test("a process is where the configuration says, else where the log does; one of no member is not there", () => {
  const live = createLiveTopology(table(at("eu", 1), at("us", 2), at("ap", 3)));
  live.name(named("eu", "us", "sa"));
  assert.deepEqual(
    live.topology.processes.map((one) => `${nodeName(one)} ${one.grpc}`),
    ["eu/site h:1", "us/site h:2", "sa/site h:9"],
  );
});

test("lists that did not change stay the same objects", () => {
  const live = createLiveTopology(table(at("eu", 1), at("us", 2)));
  live.name(named("eu", "us"));
  const { sites, processes } = live.topology;
  live.name(named("eu", "us"));
  live.update(table(at("eu", 1), at("us", 2)));
  assert.equal(live.topology.sites, sites);
  assert.equal(live.topology.processes, processes);
});

test("a site that is no member sees itself", () => {
  const live = createLiveTopology(table(at("eu", 1), at("us", 2)));
  live.name(named("us"));
  assert.deepEqual(live.topology.sites, ["us", "eu"]);
});

test("a question to all members counts only when it asks every one that is known here", () => {
  const { topology } = createLiveTopology(table(at("eu", 1), at("us", 2), at("ap", 3)));
  requireAllAsked(["ap", "eu", "us", "gone"], topology);
  assert.throws(() => requireAllAsked(["eu", "us"], topology), { kind: "unavailable", message: /ap joined/ });
});
