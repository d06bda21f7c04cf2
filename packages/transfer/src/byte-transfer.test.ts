import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { request as httpsRequest } from "node:https";
import { after, before, describe, it } from "node:test";
import { ContentError } from "@meridian/oci";
import { systemTimers } from "@meridian/runtime";
import { createByteClient } from "./byte-client.ts";
import { createMemoryNode } from "./memory-node.ts";
import { collect, createTestCluster, quiet, type TestCluster } from "./test-cluster.ts";

const content = randomBytes(3_000_000);

describe("bytes between nodes over TLS", () => {
  let cluster: TestCluster;
  before(async () => {
    cluster = await createTestCluster();
  });
  after(() => cluster[Symbol.asyncDispose]());

  it("reads a whole blob with one request, whatever the sender does with its buffers", async () => {
    const node = createMemoryNode("eu/blob-node");
    const digest = node.put(content);
    await using connected = await cluster.connect(node);
    await using blob = await connected.client.open(digest, { holders: ["us/blob-node", "ap/x"], size: 7 });
    assert.equal(blob?.size, content.length);
    assert.equal(blob.servedBy, "eu/blob-node");
    assert.equal(blob.route, "local");
    const sink = collect();
    await blob.read({ start: 0, end: blob.size }, sink);
    assert.deepEqual(sink.bytes(), content);
    assert.equal(node.asked.length, 1);
    assert.deepEqual(node.asked[0]!.holders, ["us/blob-node", "ap/x"]);
    assert.equal(node.asked[0]!.size, 7);
  });

  it("reads a span with one request when it was named, and others as they come", async () => {
    const node = createMemoryNode("eu/blob-node");
    const digest = node.put(content);
    await using connected = await cluster.connect(node);
    await using blob = await connected.client.open(digest, { holders: [], span: { start: 1_000_000, end: 1_500_000 } });
    for (const [start, end] of [
      [1_000_000, 1_500_000],
      [0, 10],
      [2_999_999, 3_000_000],
      [5, 5],
    ] as const) {
      const sink = collect();
      await blob!.read({ start, end }, sink);
      assert.deepEqual(sink.bytes(), content.subarray(start, end));
    }
    assert.equal(node.asked.length, 3);
    await assert.rejects(blob!.read({ start: 0, end: content.length + 1 }, collect()), { kind: "invalid-range" });
  });

  it("passes a URL on that the node gives instead, and bytes when they are read all the same", async () => {
    const node = createMemoryNode("eu/blob-node");
    const digest = node.put(content);
    await using connected = await cluster.connect(node);
    const asked = { holders: [], linkForMs: 30_000 };
    node.link = "https://bucket.example/blob?signature=%2F";
    await using blob = await connected.client.open(digest, asked);
    assert.deepEqual([blob?.link, blob?.size, node.sent], [node.link, content.length, 0]);
    assert.equal(node.asked.at(-1)?.linkForMs, 30_000);
    const sink = collect();
    await blob!.read({ start: 5, end: 1_000_005 }, sink);
    assert.deepEqual(sink.bytes(), content.subarray(5, 1_000_005));
    assert.equal(node.asked.at(-1)?.linkForMs, undefined);
    await using unasked = await connected.client.open(digest, { holders: [] });
    assert.equal(unasked?.link, undefined);
    delete node.link;
    await using without = await connected.client.open(digest, asked);
    assert.equal(without?.link, undefined);
  });

  it("tells only the size for an empty span", async () => {
    const node = createMemoryNode("eu/blob-node");
    const digest = node.put(content);
    await using connected = await cluster.connect(node);
    await using blob = await connected.client.open(digest, { holders: [], span: { start: 0, end: 0 } });
    assert.equal(blob?.size, content.length);
    assert.equal(node.sent, 0);
  });

  it("opens an empty blob, an absent one, and one that ends before the span", async () => {
    const node = createMemoryNode("eu/blob-node");
    await using connected = await cluster.connect(node);
    await using empty = await connected.client.open(node.put(Buffer.alloc(0)), { holders: [] });
    assert.equal(empty?.size, 0);
    await empty.read({ start: 0, end: 0 }, collect());
    const absent = createMemoryNode("elsewhere").put(content);
    assert.equal(await connected.client.open(absent, { holders: [] }), undefined);
    await using short = await connected.client.open(node.put(Buffer.from("short")), {
      holders: [],
      span: { start: 99 },
    });
    assert.equal(short?.size, 5);
  });

  it("waits for a slow reader and keeps little for it", async () => {
    const node = createMemoryNode("eu/blob-node");
    const digest = node.put(randomBytes(32_000_000));
    await using connected = await cluster.connect(node);
    await using blob = await connected.client.open(digest, { holders: [] });
    const hold = Promise.withResolvers<void>();
    const reading = blob!.read({ start: 0, end: blob!.size }, { write: () => hold.promise });
    let before = -1;
    while (node.sent !== before) {
      before = node.sent;
      await systemTimers.sleep(50);
    }
    assert.ok(node.sent > 0 && node.sent < 16_000_000, `${node.sent} bytes left the node while nobody took any`);
    hold.resolve();
    await reading;
    while (node.sent < 32_000_000) await systemTimers.sleep(1);
  });

  it("stops sending when the reader aborts, and serves the next", async () => {
    const node = createMemoryNode("eu/blob-node");
    const digest = node.put(content);
    const aborted = Promise.withResolvers<void>();
    node.beforeChunk = async (offset, signal) => {
      if (offset < 1_000_000) return;
      signal?.addEventListener("abort", () => aborted.resolve());
      await new Promise((_, reject) => signal?.addEventListener("abort", reject));
    };
    await using connected = await cluster.connect(node);
    await using blob = await connected.client.open(digest, { holders: [] });
    const abort = new AbortController();
    let received = 0;
    const sink = {
      write: (chunk: Uint8Array) => {
        received += chunk.length;
        if (received >= 1_000_000) abort.abort(new Error("enough"));
      },
    };
    await assert.rejects(blob!.read({ start: 0, end: blob!.size }, sink, { signal: abort.signal }), {
      message: "enough",
    });
    await aborted.promise;
    node.beforeChunk = () => Promise.resolve();
    const again = collect();
    await blob!.read({ start: 0, end: 100 }, again);
    assert.deepEqual(again.bytes(), content.subarray(0, 100));
  });

  it("reports a local body that breaks off as unavailable, and names the kind for one that streams", async () => {
    const node = createMemoryNode("eu/blob-node");
    const digest = node.put(content);
    node.beforeChunk = (offset) =>
      offset < 1_000_000 ? Promise.resolve() : Promise.reject(new ContentError("digest-mismatch", "wrong"));
    await using connected = await cluster.connect(node);
    for (const [route, kind] of [
      ["local", "unavailable"],
      ["stream", "digest-mismatch"],
    ] as const) {
      node.route = route;
      await using blob = await connected.client.open(digest, { holders: [] });
      assert.equal(blob!.route, route);
      const sink = collect();
      await assert.rejects(blob!.read({ start: 0, end: blob!.size }, sink), { kind });
      assert.ok(sink.length < content.length);
    }
  });

  it("carries every kind of error", async () => {
    const kinds = [
      "digest-mismatch",
      "conflict",
      "precondition",
      "fenced",
      "no-space",
      "unavailable",
      "invalid",
      "denied",
    ];
    const node = createMemoryNode("eu/blob-node");
    const digest = node.put(content);
    let kind = "";
    const failing = { ...node, open: () => Promise.reject(new ContentError(kind as "invalid", "because")) };
    await using connected = await cluster.connect(failing);
    for (kind of kinds)
      await assert.rejects(connected.client.open(digest, { holders: [] }), { kind, message: /because/ });
    const crashing = { ...node, open: () => Promise.reject(new Error("secret detail")) };
    await using other = await cluster.connect(crashing);
    await assert.rejects(other.client.open(digest, { holders: [] }), (error: ContentError) => {
      return error.kind === "unavailable" && !error.message.includes("secret");
    });
  });

  it("ends a reader that takes nothing for too long", async () => {
    const node = createMemoryNode("eu/blob-node");
    const digest = node.put(randomBytes(32_000_000));
    await using connected = await cluster.connect(node, { bodyIdleMs: 200 });
    await using blob = await connected.client.open(digest, { holders: [] });
    const ended = Promise.withResolvers<void>();
    node.beforeChunk = async (_, signal) => signal?.addEventListener("abort", () => ended.resolve());
    let chunks = 0;
    const sink = { write: () => (chunks++ === 0 ? ended.promise : undefined) };
    await assert.rejects(blob!.read({ start: 0, end: blob!.size }, sink), { kind: "unavailable" });
  });

  it("is unavailable when nobody listens, when the answer takes too long, and when the other end is no node", async () => {
    const tls = cluster.tls("us/gateway");
    const { identify } = cluster;
    const node = createMemoryNode("eu/blob-node");
    const digest = node.put(content);
    const connected = await cluster.connect({ ...node, open: () => new Promise(() => {}) }, { stopGraceMs: 10 });
    const slow = { node: "eu/blob-node", url: connected.url, tls, identify, log: quiet, answerTimeoutMs: 50 };
    await using client = createByteClient(slow);
    await assert.rejects(client.open(digest, { holders: [] }), { kind: "unavailable", message: /within 50 ms/ });
    await connected[Symbol.asyncDispose]();
    await assert.rejects(client.open(digest, { holders: [] }), { kind: "unavailable", message: /cannot be reached/ });
  });
});

describe("who may talk to whom", () => {
  let cluster: TestCluster;
  before(async () => {
    cluster = await createTestCluster();
  });
  after(() => cluster[Symbol.asyncDispose]());

  it("refuses a peer that may not, and says who it is", async () => {
    const node = createMemoryNode("eu/blob-node");
    node.uploads.set("u", []);
    const digest = node.put(content);
    const allow = (peer: { site: string } | undefined, action: string) => action === "read" || peer?.site === "eu";
    await using abroad = await cluster.connect(node, { allow, as: "us/gateway" });
    await using blob = await abroad.client.open(digest, { holders: [] });
    assert.ok(blob);
    const body = (async function* () {
      yield content;
    })();
    await assert.rejects(abroad.client.append("u", body, {}), {
      kind: "denied",
      message: /us\/gateway may not append/,
    });
  });

  it("refuses a server that is another node than the one asked for, on every connection", async () => {
    const node = createMemoryNode("us/blob-node");
    const digest = node.put(content);
    await using connected = await cluster.connect(node, { name: "us/blob-node" });
    const { identify } = cluster;
    const wrong = { node: "eu/blob-node", url: connected.url, tls: cluster.tls("eu/gateway"), identify, log: quiet };
    await using client = createByteClient(wrong);
    for (const _ of [1, 2]) await assert.rejects(client.open(digest, { holders: [] }), { kind: "denied" });
    assert.equal(node.asked.length, 0);
  });

  it("knows the peer on a resumed session", async () => {
    const node = createMemoryNode("eu/blob-node");
    const digest = node.put(randomBytes(5_000_000));
    const peers: string[] = [];
    const allow = (peer: { site: string; service: string } | undefined) =>
      peers.push(`${peer?.site}/${peer?.service}`) > 0;
    await using connected = await cluster.connect(node, { allow, as: "us/gateway" });
    for (const _ of [1, 2, 3]) {
      // An unread body costs the connection, so each round makes a new one, with the session of the one before.
      await using blob = await connected.client.open(digest, { holders: [] });
      const part = { write: () => {} };
      await blob!.read({ start: 0, end: 1_000_000 }, part);
    }
    assert.deepEqual(peers, ["us/gateway", "us/gateway", "us/gateway"]);
  });

  it("refuses a client without a certificate, and one that speaks another version", async () => {
    const node = createMemoryNode("eu/blob-node");
    const digest = node.put(content);
    await using connected = await cluster.connect(node);
    const ask = (options: object): Promise<number | string> =>
      new Promise((resolve) => {
        const request = httpsRequest(`${connected.url}/v1/blobs/${digest}`, { rejectUnauthorized: false, ...options });
        request.on("response", (response) => resolve(response.statusCode ?? 0));
        request.on("error", (error) => resolve(error.message));
        request.end();
      });
    assert.equal(typeof (await ask({})), "string");
    const { key, cert } = cluster.tls("us/gateway").current();
    assert.equal(await ask({ key, cert, agent: false }), 400);
    assert.equal(await ask({ key, cert, agent: false, headers: { "meridian-protocol": "1" } }), 200);
  });
});

describe("appending over TLS", () => {
  let cluster: TestCluster;
  before(async () => {
    cluster = await createTestCluster();
  });
  after(() => cluster[Symbol.asyncDispose]());

  async function* body(): AsyncGenerator<Uint8Array> {
    // One buffer used again for every chunk, as a reader of a socket might.
    const pooled = Buffer.alloc(100_000);
    for (let at = 0; at < content.length; at += pooled.length) {
      content.copy(pooled, 0, at);
      yield pooled;
      pooled.fill(0xee);
    }
  }

  it("brings a body to the upload and the new offset back", async () => {
    const node = createMemoryNode("eu/blob-node");
    node.uploads.set("up_1-A", []);
    await using connected = await cluster.connect(node);
    assert.deepEqual(await connected.client.append("up_1-A", body(), {}), { offset: content.length });
    const more = { offset: content.length };
    assert.deepEqual(await connected.client.append("up_1-A", body(), more), { offset: 2 * content.length });
    assert.deepEqual(Buffer.concat(node.uploads.get("up_1-A")!), Buffer.concat([content, content]));
  });

  it("carries an early refusal of a large body, and the connection pool survives it", async () => {
    const node = createMemoryNode("eu/blob-node");
    node.uploads.set("u", []);
    await using connected = await cluster.connect(node);
    const endless = (async function* () {
      for (;;) yield content;
    })();
    await assert.rejects(connected.client.append("none", endless, {}), { kind: "not-found" });
    await assert.rejects(connected.client.append("u", body(), { offset: 5 }), { kind: "invalid-range" });
    await assert.rejects(connected.client.append("../u", body(), {}), { kind: "invalid" });
    assert.deepEqual(await connected.client.append("u", body(), {}), { offset: content.length });
  });

  it("fails at the node too when the body fails half-way", async () => {
    const node = createMemoryNode("eu/blob-node");
    const seen = Promise.withResolvers<unknown>();
    const append: typeof node.append = async (_id, chunks) => {
      try {
        for await (const _ of chunks);
        seen.resolve("complete");
      } catch (error) {
        seen.resolve(error);
      }
      return { offset: 0 };
    };
    await using connected = await cluster.connect({ ...node, append });
    const broken = (async function* () {
      yield content;
      throw new Error("the client hung up");
    })();
    await assert.rejects(connected.client.append("u", broken, {}), { message: "the client hung up" });
    assert.ok((await seen.promise) instanceof Error);
  });

  it("ends a body that brings nothing for too long", async () => {
    const node = createMemoryNode("eu/blob-node");
    node.uploads.set("u", []);
    await using connected = await cluster.connect(node, { bodyIdleMs: 60 });
    const stuck = (async function* () {
      yield content;
      await new Promise(() => {});
    })();
    await assert.rejects(connected.client.append("u", stuck, {}), {
      kind: "unavailable",
      message: /nothing for 60 ms/,
    });
  });
});
