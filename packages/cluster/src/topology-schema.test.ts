import assert from "node:assert/strict";
import { test } from "node:test";
import type { Topology } from "./topology.ts";
import { nodeName, parseNodeName, serviceName } from "./topology.ts";
import { topologySchema } from "./topology-schema.ts";

const eu = {
  site: "eu",
  process: "site",
  roles: ["gateway", "blob-node", "replicator", "auth"],
  grpc: "127.0.0.1:7001",
  bytes: "https://127.0.0.1:7101",
  edge: "https://127.0.0.1:5001",
};
const us = {
  site: "us",
  process: "gateway-1",
  roles: ["gateway"],
  grpc: "[::1]:7002",
  edge: "http://us.example.com:5002",
};
const good = { cluster: "meridian.dev", site: "eu", process: "site", sites: ["eu", "us"], processes: [eu, us] };

function problems(input: unknown): string[] {
  const parsed = topologySchema.safeParse(input);
  assert.equal(parsed.success, false);
  return parsed.error!.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`);
}

test("a whole topology is taken as it is", () => {
  const topology: Topology = topologySchema.parse(good);
  assert.deepEqual(topology, good);
});

test("all problems are listed at once", () => {
  const bad = {
    ...good,
    process: "gateway-9",
    sites: ["eu", "us", "us"],
    processes: [
      eu,
      { ...eu, bytes: undefined },
      { ...us, site: "ap", bytes: "https://h:1", roles: ["gateway", "gateway"] },
    ],
  };
  assert.deepEqual(problems(bad).sort(), [
    'process: process "eu/gateway-9" is not listed in processes',
    "processes.1.bytes: a blob-node needs the origin of its byte listener",
    "processes.1.edge: address https://127.0.0.1:5001 is used by an earlier process",
    "processes.1.grpc: address 127.0.0.1:7001 is used by an earlier process",
    'processes.1.process: process "eu/site" is listed twice',
    'processes.1.roles: site "eu" has an auth already: one process of a site keeps its copy of the policy log',
    "processes.2.bytes: only a blob-node has a byte listener",
    'processes.2.roles: role "gateway" is listed twice',
    'processes.2.site: site "ap" is not one of sites',
    'sites.2: site "us" is listed twice',
  ]);
});

test("forms of names, addresses and origins are checked, and unknown keys refused", () => {
  for (const grpc of ["127.0.0.1", "host:0", "host:65536", "ho st:1", ":7000", "::1:7000", "http://h:1"]) {
    assert.match(
      problems({ ...good, processes: [{ ...eu, grpc }, us] }).join(),
      /processes\.0\.grpc: must be host:port/,
    );
  }
  for (const bytes of ["http://h:1", "https://h:1/", "https://h:1/x", "https://u@h:1", "h:1", "https://"]) {
    assert.match(
      problems({ ...good, processes: [{ ...eu, bytes }, us] }).join(),
      /processes\.0\.bytes: must be an origin/,
    );
  }
  for (const site of ["EU", "e u", "eu.west", "-eu", ""]) {
    assert.match(problems({ ...good, site }).join(), /site: must be 1–32/);
  }
  assert.match(problems({ ...good, sites: ["us"], processes: [us] }).join(), /site "eu" is not one of sites/);
  assert.match(problems({ ...good, extra: 1 }).join(), /[Uu]nrecognized key/);
  assert.match(
    problems({ ...good, processes: [{ ...eu, roles: [] }, us] }).join(),
    /roles: must name at least one role/,
  );
});

test("a process is named in records and in certificates", () => {
  assert.equal(nodeName(us), "us/gateway-1");
  assert.deepEqual(parseNodeName("us/gateway-1"), { site: "us", process: "gateway-1" });
  for (const text of ["us", "us/", "/x", "us/a/b", ""]) assert.equal(parseNodeName(text), undefined);
  assert.equal(serviceName({ roles: ["blob-node"] }), "blob-node");
  assert.equal(serviceName({ roles: ["blob-node", "auth"] }), "site");
});
