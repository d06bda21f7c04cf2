import assert from "node:assert/strict";
import { test } from "node:test";
import { ContentError, digestOf } from "@meridian/oci";
import { createLogger } from "@meridian/runtime";
import { createLiveTopology, type LiveTopology } from "./live-topology.ts";
import { ManualTime } from "./manual-time.fixture.ts";
import { createNodeWatch } from "./node-watch.ts";
import type { Peers } from "./peers.ts";
import { ownersOf } from "./placement.ts";
import { nodeName, type ProcessAddress, type Role, type Topology } from "./topology.ts";

const log = createLogger({ level: "error", write: () => undefined });

function blobNode(site: string, process: string, more: Partial<ProcessAddress> = {}): ProcessAddress {
  return { site, process, roles: ["blob-node"], grpc: `${site}-${process}:1`, bytes: `https://${process}:2`, ...more };
}

const own: ProcessAddress = { site: "eu", process: "gateway-1", roles: ["gateway"], grpc: "g:1" };
const table = (...nodes: ProcessAddress[]): Topology => ({
  ...{ cluster: "c", site: "eu", process: "gateway-1", sites: ["eu", "us"] },
  processes: [own, ...nodes],
});

/** Three nodes of eu, one of us, and what each answers. */
function cluster() {
  const time = new ManualTime();
  const live = createLiveTopology(
    table(blobNode("eu", "a"), blobNode("eu", "b"), blobNode("eu", "c"), blobNode("us", "d")),
  );
  const state = new Map<string, "silent" | "draining">();
  const told: string[] = [];
  const peers = {
    topology: live.topology,
    processes: (role: Role, site?: string) =>
      live.topology.processes.filter((one) => one.roles.includes(role) && one.site === (site ?? one.site)),
    client: (_service: unknown, address: ProcessAddress) => ({
      async state() {
        const node = nodeName(address);
        if (state.get(node) === "silent") throw new ContentError("unavailable", "silent");
        return { node, draining: state.get(node) === "draining" };
      },
    }),
  } as unknown as Peers;
  const watch = createNodeWatch({ peers, clock: time, timers: time, log });
  watch.subscribe((node, to) => void told.push(`${node} ${to}`));
  return { time, live, state, watch, told };
}

const names = (placed: readonly { node: string }[]): string[] => placed.map(({ node }) => node).toSorted();

test("a node that does not answer twice is away, is asked last, and is still a keeper", async () => {
  const { time, state, watch, told } = cluster();
  using _ = watch;
  await time.advance(1_000);
  state.set("eu/b", "silent");
  await time.advance(1_000);
  assert.equal(watch.state("eu/b"), "active", "one lost answer is no death");
  await time.advance(1_000);
  assert.deepEqual([watch.state("eu/b"), watch.awayForMs("eu/b"), watch.awayForMs("eu/a")], ["away", 2_000, 0]);
  assert.deepEqual(names(watch.keepers()), ["eu/a", "eu/b", "eu/c"]);
  for (let i = 0; i < 20; i++) assert.equal(watch.takers(digestOf(`blob ${i}`)).at(-1), "eu/b");
  state.delete("eu/b");
  await time.advance(1_000);
  assert.deepEqual([watch.state("eu/b"), watch.awayForMs("eu/b")], ["active", 0]);
  assert.deepEqual(told, ["eu/b away", "eu/b active"]);
});

test("a node that is drained neither takes nor keeps, also while it is away", async () => {
  const { time, state, watch } = cluster();
  using _ = watch;
  state.set("eu/c", "draining");
  await time.advance(1_000);
  assert.equal(watch.state("eu/c"), "draining");
  assert.deepEqual(names(watch.keepers()), ["eu/a", "eu/b"]);
  state.set("eu/c", "silent");
  await time.advance(3_000);
  assert.equal(watch.state("eu/c"), "away");
  for (let i = 0; i < 20; i++) assert.ok(!watch.takers(digestOf(`blob ${i}`)).includes("eu/c"));
});

test("a node that is added is told and used, one that is removed is forgotten", async () => {
  const { time, live, watch, told } = cluster();
  using _ = watch;
  await time.advance(1_000);
  const added = blobNode("eu", "e", { zone: "z" });
  const change = live.update(table(blobNode("eu", "a"), blobNode("eu", "b", { zone: "y" }), added));
  assert.deepEqual(change, { added: ["eu/e"], removed: ["eu/c", "us/d"], changed: ["eu/b"] });
  await time.advance(1_000);
  assert.deepEqual(told, ["eu/e active"]);
  const placed = [{ node: "eu/a" }, { node: "eu/b", zone: "y" }, { node: "eu/e", zone: "z" }];
  const digest = digestOf("blob");
  assert.deepEqual(watch.takers(digest), ownersOf(digest, placed, 3));
});

test("what needs a restart is refused, and nothing of it is taken over", () => {
  const live: LiveTopology = createLiveTopology(table(blobNode("eu", "a")));
  const next = table(blobNode("eu", "b"));
  assert.throws(() => live.update({ ...next, process: "gateway-2" }), /topology.process changed/);
  assert.throws(() => live.update({ ...next, processes: [{ ...own, grpc: "g:9" }] }), /own entry changed/);
  assert.deepEqual(live.topology.processes.map(nodeName), ["eu/gateway-1", "eu/a"]);
});
