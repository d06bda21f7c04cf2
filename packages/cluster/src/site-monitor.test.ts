import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ContentError } from "@meridian/oci";
import { RequestQueue } from "@meridian/rpc";
import type { Logger } from "@meridian/runtime";
import { ManualTime } from "./manual-time.fixture.ts";
import type { Peers, SiteHealth, SiteMonitor } from "./peers.ts";
import { createSiteMonitor } from "./site-monitor.ts";
import type { ProcessAddress, Topology } from "./topology.ts";

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };

/** What a gateway does with a ping: answers after so many ms, swallows it, or refuses it at once. */
type Behaviour = number | "swallow" | "refuse";

interface World extends Disposable {
  readonly time: ManualTime;
  /** The members: another list when they change. */
  readonly live: { sites: string[] };
  readonly gateways: Map<string, Behaviour>;
  readonly failing: Map<string, string[]>;
  readonly monitor: SiteMonitor;
  readonly changes: string[];
  /** The gateway of each stream that was opened. */
  readonly streams: string[];
  /** Time and gateway of each heartbeat that arrived. */
  readonly beats: string[];
  /** Breaks a gateway's stream, as when its process dies. */
  readonly reset: (gateway: string) => void;
}

function worldOf(gateways: Record<string, Behaviour>): World {
  const time = new ManualTime();
  const behaviours = new Map(Object.entries(gateways));
  const failing = new Map<string, string[]>();
  const streams: string[] = [];
  const beats: string[] = [];
  const open = new Map<string, RequestQueue<unknown>>();
  const processes = Object.keys(gateways).map((name, index): ProcessAddress => {
    const [site, process] = name.split("/") as [string, string];
    return { site, process, roles: ["gateway"], grpc: `h:${index + 1}` };
  });
  const live = { sites: ["eu", ...new Set(processes.map(({ site }) => site))] };
  const topology: Topology = {
    ...{ cluster: "c", site: "eu", process: "g", processes },
    get sites() {
      return live.sites;
    },
  };
  const peers: Peers = {
    topology,
    processes: (_role, site) => processes.filter((address) => address.site === site),
    process: () => undefined,
    client: (_service, { site, process }) => {
      const gateway = `${site}/${process}`;
      const heartbeat = (requests: AsyncIterable<{ number: number }>): AsyncIterable<unknown> => {
        streams.push(gateway);
        const answers = new RequestQueue<unknown>();
        open.set(gateway, answers);
        void answer(requests, answers).catch((error: unknown) => answers.fail(error));
        return answers;
      };
      const answer = async (requests: AsyncIterable<{ number: number }>, answers: RequestQueue<unknown>) => {
        for await (const { number } of requests) {
          beats.push(`${time.monotonic()} ${gateway}`);
          const behaviour = behaviours.get(gateway)!;
          if (behaviour === "refuse") throw new ContentError("unavailable", "connection refused");
          if (behaviour === "swallow") continue;
          time.after(behaviour, () => answers.push({ number, site, failing: failing.get(site) ?? [], nowMs: 0n }));
        }
      };
      return { heartbeat } as never;
    },
    async [Symbol.asyncDispose]() {},
  };
  const monitor = createSiteMonitor({ peers, clock: time, timers: time, log: silent });
  const changes: string[] = [];
  const listening = monitor.subscribe(({ site, state }: SiteHealth) =>
    changes.push(`${time.monotonic()} ${site} ${state}`),
  );
  return {
    time,
    live,
    gateways: behaviours,
    failing,
    monitor,
    changes,
    streams,
    beats,
    reset: (gateway) => open.get(gateway)?.fail(new ContentError("unavailable", "connection reset")),
    [Symbol.dispose]: () => listening[Symbol.dispose](),
  };
}

describe("site monitor", () => {
  test("members come and go: one that joins is watched, one that leaves is not asked any more", async () => {
    using world = worldOf({ "us/g": 10, "ap/g": 10 });
    world.live.sites = ["eu", "us"];
    await world.time.advance(2_000);
    assert.deepEqual(world.monitor.ordered(), ["us"]);
    world.live.sites = ["eu", "ap"];
    await world.time.advance(2_000);
    assert.deepEqual(world.monitor.live(), ["ap"]);
    assert.equal(world.monitor.health("us").state, "unknown");
    assert.match(world.changes.join(), /us live.*us unknown.*ap live/);
    const asked = world.beats.filter((beat) => beat.endsWith("us/g")).length;
    await world.time.advance(5_000);
    assert.equal(world.beats.filter((beat) => beat.endsWith("us/g")).length, asked);
  });

  test("one answer makes an unknown site live, with its round trip", async () => {
    using world = worldOf({ "us/g": 80, "ap/g": 160, "xx/g": "refuse" });
    assert.equal(world.monitor.health("us").state, "unknown");
    await world.time.advance(200);
    assert.deepEqual(world.monitor.health("us"), { site: "us", state: "live", failing: [], rttMs: 80 });
    assert.deepEqual(world.monitor.live(), ["us", "ap"]);
    assert.deepEqual(world.monitor.ordered(), ["us", "ap", "xx"]);
    assert.deepEqual(world.monitor.health("eu"), { site: "eu", state: "live", rttMs: 0, failing: [] });
  });

  test("the round trip is a moving average", async () => {
    using world = worldOf({ "us/g": 100 });
    await world.time.advance(400);
    world.gateways.set("us/g", 200);
    await world.time.advance(900);
    assert.equal(Math.round(world.monitor.health("us").rttMs!), 130);
  });

  test("a site in a black hole is suspect after two missed probes and down 3 s after its last answer", async () => {
    using world = worldOf({ "us/g": 10 });
    await world.time.advance(600);
    world.gateways.set("us/g", "swallow");
    await world.time.advance(4_000);
    assert.deepEqual(world.changes, ["10 us live", "2500 us suspect", "3010 us down"]);
    assert.deepEqual(world.monitor.live(), []);
    assert.deepEqual(world.monitor.ordered(), ["us"]);
  });

  test("a heartbeat a second on one stream while all is well; twice as many at any doubt", async () => {
    using world = worldOf({ "us/g": 10 });
    await world.time.advance(3_600);
    assert.deepEqual(world.beats, ["0 us/g", "1000 us/g", "2000 us/g", "3000 us/g"]);
    assert.deepEqual(world.streams, ["us/g"]);
    world.gateways.set("us/g", "swallow");
    await world.time.advance(1_500);
    assert.deepEqual(world.beats.slice(4), ["4000 us/g", "4500 us/g", "5000 us/g"]);
    world.gateways.set("us/g", 10);
    await world.time.advance(6_000);
    assert.equal(world.monitor.health("us").state, "live");
    assert.ok(world.beats.length < 16, `${world.beats.length} heartbeats: calm again`);
  });

  test("a site whose connection breaks is asked again at once, and is suspect within half a second", async () => {
    using world = worldOf({ "us/g": 10 });
    await world.time.advance(1_200);
    world.gateways.set("us/g", "refuse");
    world.reset("us/g");
    await world.time.advance(400);
    assert.deepEqual(world.changes, ["10 us live", "1500 us suspect"]);
  });

  test("one heartbeat that was lost makes nobody suspect", async () => {
    using world = worldOf({ "us/g": 10 });
    await world.time.advance(900);
    world.gateways.set("us/g", "swallow");
    await world.time.advance(200);
    world.gateways.set("us/g", 10);
    await world.time.advance(5_000);
    assert.deepEqual(world.changes, ["10 us live"]);
    assert.deepEqual(world.streams, ["us/g", "us/g"], "a stream that loses heartbeats is not trusted on");
  });

  test("a refusing site is suspect within a second; it takes two good probes to come back", async () => {
    using world = worldOf({ "us/g": 10 });
    await world.time.advance(600);
    world.gateways.set("us/g", "refuse");
    await world.time.advance(900);
    assert.deepEqual(world.changes, ["10 us live", "1500 us suspect"]);
    await world.time.advance(3_000);
    assert.equal(world.monitor.health("us").state, "down");
    world.gateways.set("us/g", 10);
    await world.time.advance(520);
    assert.equal(world.monitor.health("us").state, "down", "one good probe is not enough");
    await world.time.advance(500);
    assert.equal(world.monitor.health("us").state, "live");
  });

  test("a site never reached stays unknown, however long", async () => {
    using world = worldOf({ "us/g": "refuse" });
    await world.time.advance(20_000);
    assert.equal(world.monitor.health("us").state, "unknown");
    assert.deepEqual(world.changes, []);
  });

  test("another gateway of the site answers for one that is dead or silent", async () => {
    using world = worldOf({ "us/g1": 20, "us/g2": 30 });
    await world.time.advance(600);
    for (const behaviour of ["swallow", "refuse"] as const) {
      world.gateways.set("us/g1", behaviour);
      await world.time.advance(5_000);
      assert.equal(world.monitor.health("us").state, "live");
    }
    assert.ok(Math.abs(world.monitor.health("us").rttMs! - 30) < 1, "the hedge's wait is not part of the round trip");
    assert.deepEqual(world.changes, ["20 us live"]);
  });

  test("failures of real requests make a site suspect; probes bring it back", async () => {
    using world = worldOf({ "us/g": 10 });
    await world.time.advance(600);
    for (const outcome of ["failed", "failed", "ok", "failed", "failed"] as const) world.monitor.report("us", outcome);
    assert.equal(world.monitor.health("us").state, "live");
    world.monitor.report("us", "failed");
    assert.equal(world.monitor.health("us").state, "suspect");
    await world.time.advance(1_000);
    assert.equal(world.monitor.health("us").state, "live");
  });

  test("failing checks that a site names are passed on", async () => {
    using world = worldOf({ "us/g": 10 });
    world.failing.set("us", ["storage"]);
    await world.time.advance(100);
    assert.deepEqual(world.monitor.health("us").failing, ["storage"]);
  });

  test("silence while this process itself stood still accuses nobody", async () => {
    using world = worldOf({ "us/g": 10 });
    await world.time.advance(600);
    world.time.standStill(60_000);
    await world.time.advance(3_000);
    assert.deepEqual(world.changes, ["10 us live"]);
  });

  test("disposing ends probes and changes", async () => {
    using world = worldOf({ "us/g": 10 });
    await world.time.advance(600);
    world.gateways.set("us/g", "swallow");
    await world.monitor[Symbol.asyncDispose]();
    await world.time.advance(10_000);
    assert.deepEqual(world.changes, ["10 us live"]);
  });
});
