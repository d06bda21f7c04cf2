import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { globSync, mkdtempSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { DevProcess } from "./harness/dev-process.ts";
import { digestOf, makeImage, type TestImage } from "./harness/oci-client.ts";
import { needs } from "./harness/programs.ts";
import { bearerChallenge, RawHttp } from "./harness/raw-http.ts";
import { RawSocket } from "./harness/raw-socket.ts";
import { command, complete } from "./harness/site-control.ts";
import { until } from "./harness/until.ts";

/** Soon enough for a test. */
const OVERLAY = `
replicator: { nodeLostAfterMs: 3000, copyDelayMs: 300, retryMaxMs: 2000, checkCopiesEveryMs: 4000 }
`;

interface Listed {
  readonly node: string;
  readonly state: string;
  readonly blobs: number;
}

describe("a site with several blob nodes", { skip: needs("nats-server") }, () => {
  const folder = mkdtempSync(join(tmpdir(), "meridian-blob-nodes-"));
  const images = new Map<string, TestImage>();
  let cluster: DevProcess;

  const digestsOf = (image: TestImage): string[] => [
    image.digest,
    ...[image.config, ...image.layers].map((bytes) => digestOf(bytes)),
  ];
  const allDigests = (): string[] => [...images.values()].flatMap(digestsOf);
  /** Files of a blob at eu, by node. */
  const filesOf = (digest: string): string[] => {
    const hex = digest.slice(7);
    return globSync(join(cluster.home, `sites/eu/blob-node-*/blobs/blobs/sha256/${hex.slice(0, 2)}/${hex}`));
  };
  const nodesOf = (digest: string): string[] =>
    filesOf(digest)
      .map((path) => /blob-node-\d+/.exec(path)?.[0] ?? "")
      .toSorted();
  const push = async (tag: string, ...sizes: number[]): Promise<void> => {
    const image = makeImage(...sizes);
    await cluster.at("eu").push("nodes/app", tag, image);
    images.set(tag, image);
  };
  const pullAll = async (site = "eu"): Promise<void> => {
    for (const [tag, image] of images)
      assert.equal((await cluster.at(site).pull("nodes/app", tag)).digest, image.digest, `${tag} at ${site}`);
  };
  /** Every blob is on two nodes that are not among `without`, and nowhere else but there. */
  const isSettled = (without: readonly string[] = []): boolean =>
    allDigests().every((digest) => {
      const nodes = nodesOf(digest).filter((node) => !without.includes(node));
      return nodes.length === 2;
    });
  const node = async (...args: string[]): Promise<string> => {
    const done = await cluster.meridian("node", ...args);
    assert.equal(done.code, 0, `node ${args.join(" ")}: ${done.stderr}`);
    return done.stdout;
  };
  const listed = async (): Promise<Listed[]> => {
    const answer = await cluster.at("eu").call("/v2/_meridian/nodes/eu");
    assert.equal(answer.status, 200, answer.body.toString());
    return (JSON.parse(answer.body.toString()) as { nodes: Listed[] }).nodes;
  };
  const stop = (name: string): Promise<void> => command(cluster, { command: "process-stop", process: `eu/${name}` });
  const start = (name: string): Promise<void> => command(cluster, { command: "process-start", process: `eu/${name}` });

  before(async () => {
    const overlay = join(folder, "overlay.yaml");
    writeFileSync(overlay, OVERLAY);
    cluster = await DevProcess.start("--nats", "--sites", "eu,us", "--blob-nodes", "3", "--config", overlay);
  });
  after(async () => {
    await cluster[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });

  test("each push has two copies when it is answered, and they come to rest on their owners", async () => {
    for (let i = 0; i < 3; i++) await push(`v${i}`, 300_000, 20_000);
    for (const digest of allDigests()) assert.ok(nodesOf(digest).length >= 2, `${digest} at ${nodesOf(digest)}`);
    await until("no copy is too many", () => isSettled());
    await pullAll();
    const { sites } = JSON.parse(await node("list", "eu", "--json")) as { sites: Array<{ nodes: Listed[] }> };
    const list = sites[0]?.nodes ?? [];
    assert.deepEqual(
      list.map(({ node, state }) => [node, state]),
      ["eu/blob-node-1", "eu/blob-node-2", "eu/blob-node-3"].map((name) => [name, "active"]),
    );
    assert.ok(list.every(({ blobs }) => blobs > 0));
  });

  test("an upload goes on at the twin when a node is killed in the middle of its body", async () => {
    const http = new RawHttp(cluster.gateway("eu"), cluster.ca);
    const { realm, service } = bearerChallenge(await http.ask("GET", "/v2/nodes/app/tags/list"));
    const scope = "repository:nodes/app:pull,push";
    const token = await cluster.at("eu").token(`Bearer realm="${realm}",service="${service}",scope="${scope}"`);
    const headers = { authorization: `Bearer ${token}` };
    const layer = randomBytes(12_000_000);
    const begun = await http.ask("POST", "/v2/nodes/app/blobs/uploads/", { headers });
    const location = String(begun.headers.location);
    using socket = await RawSocket.open(cluster.gateway("eu"), cluster.ca);
    await socket.send(
      `PATCH ${location} HTTP/1.1\r\nHost: ${new URL(cluster.gateway("eu")).host}\r\nAuthorization: Bearer ${token}\r\n` +
        `Content-Type: application/octet-stream\r\nContent-Length: ${layer.length}\r\n\r\n`,
    );
    await socket.send(layer.subarray(0, 5_000_000));
    const taking = await until("two nodes take it", () => {
      const found = globSync(join(cluster.home, "sites/eu/blob-node-*/blobs/uploads/*"));
      return found.length >= 2 && found;
    });
    const victim = /blob-node-\d+/.exec(taking[0] ?? "")?.[0] ?? "";
    await command(cluster, { command: "process-kill", process: `eu/${victim}`, hold: false });
    await socket.send(layer.subarray(5_000_000));
    const taken = await socket.answer(30_000);
    assert.equal(taken.status, 202, taken.body);
    const done = await http.ask("PUT", `${location}?digest=${digestOf(layer)}`, { headers });
    assert.equal(done.status, 201, done.body.toString());
    assert.equal(done.headers["meridian-copies"], "2", "the third node, or the restarted one, has the second copy");
    assert.ok((await cluster.at("eu").pullBlob("nodes/app", digestOf(layer), layer.length)).bytes > 0);
    http[Symbol.dispose]();
  });

  test("with a node lost no pull fails, its blobs are copied to the others, and they go home when it is back", async () => {
    await stop("blob-node-2");
    const deadline = performance.now() + 3_000;
    while (performance.now() < deadline) await pullAll();
    await push("while-lost", 100_000);
    await until("two copies of each are alive", () => isSettled(["blob-node-2"]), 60_000);
    await start("blob-node-2");
    await until("all are at home again", async () => isSettled() && (await listed()).every(({ blobs }) => blobs > 0));
    await pullAll();
  });

  test("a replaced disk is filled again, and what both nodes lost comes from another site", async () => {
    await complete(cluster, "eu", "nodes/app", "v0", ["us"]);
    const lost = digestOf(images.get("v0")!.layers[0]!);
    await stop("blob-node-1");
    rmSync(join(cluster.home, "sites/eu/blob-node-1/blobs"), { recursive: true });
    for (const path of filesOf(lost)) unlinkSync(path);
    assert.equal((await cluster.at("eu").pull("nodes/app", "v0")).digest, images.get("v0")!.digest);
    await until("the node is away", async () => (await listed())[0]?.state === "away");
    await start("blob-node-1");
    await until("every copy is there again", () => isSettled(), 60_000);
    await pullAll();
  });

  test("a node is added and another one drained under pulls, none of which fails; its data outlive it", async () => {
    let pulling = true;
    const pulls = (async () => {
      let count = 0;
      for (; pulling; count++) await pullAll();
      return count;
    })();
    await node("add", "eu/blob-node-4", "--wait", "--timeout", "90s");
    assert.ok((await listed()).find((one) => one.node === "eu/blob-node-4")!.blobs > 0);
    const drained = await cluster.meridian("node", "drain", "eu/blob-node-3", "--wait", "--timeout", "90s");
    assert.equal(drained.code, 0, drained.stderr);
    assert.match(drained.stdout, /eu\/blob-node-3 is empty, and every copy is where it belongs/);
    assert.match(drained.stderr, /eu\/blob-node-3: draining: \d+ of \d+ blobs left/);
    pulling = false;
    assert.ok((await pulls) > 0);
    assert.deepEqual(
      (await listed()).map(({ state }) => state),
      ["active", "active", "empty", "active"],
    );
    await push("after-drain", 50_000);
    assert.ok(allDigests().every((digest) => !nodesOf(digest).includes("blob-node-3")));
    await stop("blob-node-3");
    await pullAll();
    await pullAll("us");
  });

  test("what cannot be done is said in words that help", async () => {
    const refused = async (...args: string[]): Promise<string> => {
      const done = await cluster.meridian("node", ...args);
      assert.notEqual(done.code, 0, args.join(" "));
      return `${done.code} ${done.stderr}`;
    };
    assert.match(
      await refused("drain", "eu/blob-node-9"),
      /1 .*there is no blob node eu\/blob-node-9; there are eu\/blob-node-1/s,
    );
    assert.match(await refused("drain", "blob-node-1"), /2 .*site\/node is wanted/s);
    assert.match(await refused("drain", "xx/blob-node-1"), /1 .*there is no site xx; there are eu, us/s);
    const nobody = await cluster.at("eu").call("/v2/_meridian/nodes/eu", { headers: { authorization: "Bearer x" } });
    assert.equal(nobody.status, 401);
    assert.match((await cluster.meridian("node", "drain", "--help")).stdout, /--wait/);
  });
});
