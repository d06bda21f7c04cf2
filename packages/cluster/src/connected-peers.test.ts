import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import { isContentError } from "@meridian/oci";
import { createRpcServer, type RpcServer, type ServiceImpl } from "@meridian/rpc";
import type { Logger } from "@meridian/runtime";
import { siteV1 } from "@meridian/wire";
import { createPeers } from "./connected-peers.ts";
import { ManualTime } from "./manual-time.fixture.ts";
import type { Peers } from "./peers.ts";
import type { ProcessAddress } from "./topology.ts";

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };

function siteService(name: string): ServiceImpl<typeof siteV1.SiteService> {
  const refuse = (): never => assert.fail("not under test");
  return { ping: async () => ({ site: name }), heartbeat: refuse, lookup: refuse, replication: refuse };
}

function serverOf(name: string): RpcServer {
  const server = createRpcServer({ log: silent });
  server.register(siteV1.SiteService, siteService(name));
  return server;
}

describe("peers", () => {
  let open: AsyncDisposableStack;
  let peers: Peers;
  let time: ManualTime;
  const address = (site: string, process: string, grpc: string): ProcessAddress => {
    return { site, process, roles: ["gateway"], grpc };
  };
  const ping = async (peer: ProcessAddress): Promise<string> =>
    (await peers.client(siteV1.SiteService, peer).ping({ fromSite: "eu" }, { timeoutMs: 2_000 })).site;

  beforeEach(async () => {
    open = new AsyncDisposableStack();
    time = new ManualTime();
    const own = open.use(serverOf("own"));
    const us = open.use(serverOf("us"));
    const listening = await us.listen({ host: "127.0.0.1", port: 0 });
    const processes = [
      address("us", "dead", "127.0.0.1:1"),
      address("us", "alive", listening.address),
      // Never listened on: only an in-process call can answer.
      address("eu", "site", "127.0.0.1:2"),
    ];
    const topology = { cluster: "c", site: "eu", process: "site", sites: ["eu", "us"], processes };
    peers = open.use(createPeers({ topology, rpc: own, log: silent, clock: time }));
  });
  afterEach(() => open.disposeAsync());

  test("a service of this process is called in process, another one over the network", async () => {
    assert.equal(await ping(peers.process("eu", "site")!), "own");
    assert.equal(await ping(peers.process("us", "alive")!), "us");
    assert.equal(peers.process("us", "nobody"), undefined);
  });

  test("channels and clients are kept", () => {
    const alive = peers.process("us", "alive")!;
    assert.equal(peers.client(siteV1.SiteService, alive), peers.client(siteV1.SiteService, alive));
  });

  test("this process comes first, and one that could not be reached last, for five seconds", async () => {
    const names = (): string[] => peers.processes("gateway").map(({ process }) => process);
    assert.deepEqual(names(), ["site", "dead", "alive"]);
    await assert.rejects(ping(peers.process("us", "dead")!), (error) => isContentError(error, "unavailable"));
    assert.deepEqual(names(), ["site", "alive", "dead"]);
    time.standStill(5_001);
    assert.deepEqual(names(), ["site", "dead", "alive"]);
    assert.deepEqual(peers.processes("auth"), []);
    assert.deepEqual(
      peers.processes("gateway", "eu").map(({ process }) => process),
      ["site"],
    );
  });

  test("nothing can be opened after disposal", async () => {
    const alive = peers.process("us", "alive")!;
    await peers[Symbol.asyncDispose]();
    assert.throws(() => peers.client(siteV1.SiteService, alive), /closed/);
  });
});
