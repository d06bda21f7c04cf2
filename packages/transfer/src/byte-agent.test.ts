import assert from "node:assert/strict";
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { request } from "node:https";
import { after, before, describe, it } from "node:test";
import type { TLSSocket } from "node:tls";
import type { TlsMaterial, TlsSource } from "@meridian/runtime";
import { type ByteAgent, createByteAgent } from "./byte-agent.ts";
import { startByteServer } from "./byte-server.ts";
import { createMemoryNode } from "./memory-node.ts";
import { createTestCluster, quiet, type TestCluster } from "./test-cluster.ts";

describe("connections to a node", () => {
  let cluster: TestCluster;
  const peers: string[] = [];
  before(async () => {
    cluster = await createTestCluster();
  });
  after(() => cluster[Symbol.asyncDispose]());

  const serve = () => {
    peers.length = 0;
    const { identify } = cluster;
    const allow = (peer: { site: string; service: string } | undefined): boolean => {
      peers.push(`${peer?.site}/${peer?.service}`);
      return true;
    };
    const node = createMemoryNode("eu/blob-node");
    const address = { host: "127.0.0.1", port: 0, log: quiet, stopGraceMs: 5_000 };
    return startByteServer({ node, tls: cluster.tls("eu/blob-node"), identify, allow, ...address });
  };

  /** One request that finds nothing; resolves with the connection it used. */
  async function ask(agent: ByteAgent, url: string): Promise<TLSSocket> {
    const path = `/v1/blobs/sha256:${"0".repeat(64)}`;
    const asking = request(url + path, { agent: agent.current(), headers: { "meridian-protocol": "1" } });
    asking.end();
    const [response] = (await once(asking, "response")) as [IncomingMessage];
    assert.equal(response.statusCode, 404);
    const socket = response.socket as TLSSocket;
    response.resume();
    await once(response, "close");
    return socket;
  }

  it("are kept, and resume their TLS session when made anew, with the peer known", async () => {
    await using server = await serve();
    const identity = { tls: cluster.tls("us/gateway"), identify: cluster.identify };
    using agent = createByteAgent(new URL(server.url), identity);
    const first = await ask(agent, server.url);
    assert.equal(await ask(agent, server.url), first);
    assert.equal(first.isSessionReused(), false);
    assert.equal(first.getProtocol(), "TLSv1.3");
    first.destroy();
    await once(first, "close");
    const second = await ask(agent, server.url);
    assert.notEqual(second, first);
    assert.equal(second.isSessionReused(), true);
    assert.deepEqual(peers, ["us/gateway", "us/gateway", "us/gateway"]);
  });

  it("use a rotated certificate, and no old connection, from then on", async () => {
    await using server = await serve();
    const gateway = cluster.tls("us/gateway");
    const other = cluster.tls("us/blob-node");
    let material: TlsMaterial = gateway.current();
    const changed = new Set<(material: TlsMaterial) => void>();
    const tls: TlsSource = {
      current: () => material,
      subscribe: (listener) => {
        changed.add(listener);
        return { [Symbol.dispose]: () => changed.delete(listener) };
      },
    };
    {
      using agent = createByteAgent(new URL(server.url), { tls, identify: cluster.identify });
      await ask(agent, server.url);
      material = other.current();
      for (const listener of changed) listener(material);
      await ask(agent, server.url);
    }
    assert.deepEqual(peers, ["us/gateway", "us/blob-node"]);
    assert.equal(changed.size, 0);
  });

  it("do not hold up a server that stops", async () => {
    const server = await serve();
    using agent = createByteAgent(new URL(server.url), { tls: cluster.tls("us/gateway"), identify: cluster.identify });
    await ask(agent, server.url);
    const began = performance.now();
    await server[Symbol.asyncDispose]();
    assert.ok(performance.now() - began < 3_000);
  });

  it("are refused when TLS and address do not fit", () => {
    const identity = { tls: cluster.tls("us/gateway"), identify: cluster.identify };
    assert.throws(() => createByteAgent(new URL("http://127.0.0.1:1"), identity), { kind: "invalid" });
    assert.throws(() => createByteAgent(new URL("https://127.0.0.1:1"), {}), { kind: "invalid" });
  });
});
