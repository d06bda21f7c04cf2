import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { isContentError } from "@meridian/oci";
import { createIdentifyPeer, ensureDevPki, fileTlsSource } from "@meridian/pki";
import { createRpcServer } from "@meridian/rpc";
import { createSystemClock, type Logger } from "@meridian/runtime";
import { siteV1 } from "@meridian/wire";
import { createPeers } from "./connected-peers.ts";
import type { Role } from "./topology.ts";

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };

test("a server that is not the site and service that the topology gives its address is refused", async () => {
  await using open = new AsyncDisposableStack();
  const dir = await mkdtemp(join(tmpdir(), "cluster-pki-"));
  open.defer(() => rm(dir, { recursive: true }));
  const sites = ["eu", "us"].map((name) => ({ name, processes: [{ process: "gateway-1", service: "gateway" }] }));
  const pki = await ensureDevPki({ dir, trustDomain: "c", sites, clock: createSystemClock() });
  const tlsOf = (site: string) => open.use(fileTlsSource({ ...pki.sites[site]!.processes["gateway-1"]!, ca: pki.ca }));
  const identify = createIdentifyPeer("c");
  const server = open.use(createRpcServer({ log: silent, tls: tlsOf("us"), identify }));
  const refuse = (): never => assert.fail("not under test");
  const ping = async () => ({ site: "us" });
  server.register(siteV1.SiteService, { ping, heartbeat: refuse, lookup: refuse, replication: refuse });
  const { address } = await server.listen({ host: "127.0.0.1", port: 0 });

  /** Pings the server as if the topology listed it with this site and these roles. */
  const pingAs = async (site: string, roles: readonly Role[]): Promise<string> => {
    const listed = { site, process: "gateway-1", roles, grpc: address };
    const topology = { cluster: "c", site: "ap", process: "p", sites: ["eu", "us", "ap"], processes: [listed] };
    const rpc = { local: () => undefined };
    await using peers = createPeers({ topology, rpc, tls: tlsOf("eu"), identify, log: silent });
    return (await peers.client(siteV1.SiteService, listed).ping({ fromSite: "ap" })).site;
  };
  assert.equal(await pingAs("us", ["gateway"]), "us");
  const denied = (error: unknown): boolean => isContentError(error, "denied");
  await assert.rejects(pingAs("eu", ["gateway"]), denied, "another site");
  await assert.rejects(pingAs("us", ["replicator"]), denied, "another service");
  await assert.rejects(pingAs("us", ["gateway", "blob-node"]), denied, "several roles have a certificate for site");
});
