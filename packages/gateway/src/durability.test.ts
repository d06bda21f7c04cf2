import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { create } from "@bufbuild/protobuf";
import type { Topology } from "@meridian/cluster";
import { digestOf } from "@meridian/oci";
import { RepositorySettingsTable } from "@meridian/policy";
import { createManualTime } from "@meridian/runtime";
import { policyV1 } from "@meridian/wire";
import { createDurability } from "./durability.ts";
import type { SiteReceipt } from "./receipts.ts";

const digest = digestOf("manifest");
const topology: Topology = { cluster: "c", site: "eu", process: "g", sites: ["eu", "us", "ap"], processes: [] };

function setUp(sites: number, placement: { lazy?: string[]; never?: string[] } = {}) {
  const time = createManualTime(0);
  const settings = new RepositorySettingsTable();
  settings.put(create(policyV1.RepositorySettingsSchema, { prefix: "app", durability: { sites }, placement }));
  const down = new Set<string>();
  const draining = new Set<string>();
  const complete = new Set(["eu"]);
  const awaited: string[] = [];
  const receipt = (name: string): SiteReceipt => {
    const state = complete.has(name) ? "complete" : "blobs";
    return { name, state, blobsPresent: 0, blobsTotal: 3, bytes: 0, etaMs: null };
  };
  const durability = createDurability({
    ...time,
    topology,
    settings,
    members: { isDraining: (site) => draining.has(site) },
    monitor: { health: (site) => ({ site, state: down.has(site) ? "down" : "live", rttMs: 1, failing: [] }) },
    receipts: {
      ask: async () => topology.sites.map(receipt),
      wait: () => Promise.reject(new Error("not asked")),
    },
    interest: { pulled: () => {}, awaited: async (site) => void awaited.push(site) },
    durabilityWaitMs: 20_000,
  });
  return { time, durability, down, draining, complete, awaited };
}

describe("durability of a repository", () => {
  it("wants one site where nothing is said", () => {
    assert.equal(setUp(2).durability.require("other"), 1);
  });

  it("refuses a push with 503 before it is accepted when too few sites can be reached", () => {
    const { durability, down } = setUp(3);
    assert.equal(durability.require("app"), 3);
    down.add("ap");
    assert.throws(() => durability.require("app"), {
      code: "UNAVAILABLE",
      status: 503,
      detail: { wanted: 3, reachable: ["eu", "us"] },
    });
  });

  it("does not count sites that are lazy, or that the repository is kept from", () => {
    for (const placement of [{ lazy: ["us"] }, { never: ["us"] }]) {
      assert.throws(() => setUp(3, placement).durability.require("app"), { status: 503 });
      assert.equal(setUp(2, placement).durability.require("app"), 2);
    }
  });

  it("holds the answer back until so many sites are complete, and asks them to hurry", async () => {
    const { time, durability, complete, awaited } = setUp(2);
    let answered: readonly string[] | undefined;
    const waiting = durability.wait("app/web", digest, 2).then((sites) => (answered = sites));
    await time.advance(5_000);
    assert.equal(answered, undefined);
    complete.add("ap");
    await time.advance(1_000);
    await waiting;
    assert.deepEqual(answered, ["eu", "ap"]);
    assert.deepEqual(awaited.toSorted(), ["ap", "us"]);
  });

  it("answers 504 when that takes too long, and says who has it", async () => {
    const { time, durability } = setUp(2);
    const refused = assert.rejects(durability.wait("app", digest, 2), {
      code: "UNAVAILABLE",
      status: 504,
      detail: { digest, wanted: 2, complete: ["eu"] },
    });
    await time.advance(21_000);
    await refused;
  });
});

it("a site that drains is not counted: what it holds leaves with it", async () => {
  const { durability, draining, complete } = setUp(2);
  draining.add("us");
  draining.add("ap");
  assert.throws(() => durability.require("app"), /wants its pushes at 2 sites.*only 1 can be reached/);
  draining.delete("ap");
  complete.add("us");
  complete.add("ap");
  assert.deepEqual(await durability.wait("app", digest, 2), ["eu", "ap"]);
});
