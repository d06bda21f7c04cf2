import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";
import { type Change, type OpenCatalog, openCatalog } from "@meridian/catalog";
import {
  nodeName,
  ownersOf,
  type Peers,
  type ProcessAddress,
  type Role,
  type SiteMonitor,
  type Topology,
} from "@meridian/cluster";
import { openEmbeddedLogs } from "@meridian/eventlog";
import { createMemoryStore } from "@meridian/keyvalue";
import { ContentError, type Digest, digestOf, parseDigest } from "@meridian/oci";
import type { SitePlacement } from "@meridian/policy";
import { createRpcServer } from "@meridian/rpc";
import { createSystemClock, systemRandom, systemTimers } from "@meridian/runtime";
import type { blobV1, nodeV1 } from "@meridian/wire";
import { replicatorConfigSchema } from "./config.ts";
import { type Copies, startCopies } from "./copies.ts";
import { silent, until } from "./test-cluster.fixture.ts";

const BLOBS = 12;

/** A blob node in memory: its disk, and what is wrong with it. */
class TestNode {
  readonly name: string;
  readonly disk = new Map<Digest, Uint8Array>();
  down = false;
  draining = false;
  readonly #others: ReadonlyMap<string, TestNode>;

  constructor(name: string, others: ReadonlyMap<string, TestNode>) {
    this.name = name;
    this.#others = others;
  }

  /** The methods of both services that are used. */
  call(method: string, request: never): unknown {
    if (this.down) throw new ContentError("unavailable", `${this.name} is down`);
    return (this as unknown as Record<string, (request: never) => unknown>)[method]!(request);
  }

  state() {
    return { node: this.name, draining: this.draining };
  }

  holds({ digests }: nodeV1.HoldsRequest) {
    return { held: digests.map((digest) => this.disk.has(parseDigest(digest))) };
  }

  list({ after, limit }: nodeV1.ListRequest) {
    const found = [...this.disk].filter(([digest]) => digest > after).toSorted(([a], [b]) => (a < b ? -1 : 1));
    return { blobs: found.slice(0, limit).map(([digest, { byteLength }]) => ({ digest, size: BigInt(byteLength) })) };
  }

  delete({ digest }: blobV1.DeleteRequest) {
    return { deleted: this.disk.delete(parseDigest(digest)) };
  }

  fetch({ digest, holders }: blobV1.FetchRequest) {
    if (this.draining) throw new ContentError("unavailable", `${this.name} is being drained`);
    const wanted = parseDigest(digest);
    const content =
      this.disk.get(wanted) ??
      holders
        .map((name) => this.#others.get(name))
        .find((node) => node?.down === false && node.disk.has(wanted))
        ?.disk.get(wanted);
    if (content === undefined) throw new ContentError("unavailable", "no holder could be reached");
    const fetchedBytes = this.disk.has(wanted) ? 0n : BigInt(content.byteLength);
    this.disk.set(wanted, content);
    return { size: BigInt(content.byteLength), fetchedBytes };
  }
}

interface Site extends AsyncDisposable {
  readonly nodes: readonly TestNode[];
  readonly catalog: OpenCatalog;
  readonly copies: Copies;
  /** Blobs that a repository shows, at these nodes. */
  push(at: (digest: Digest) => readonly TestNode[]): Promise<Digest[]>;
  /** Nodes whose disk has it, by name. */
  at(digest: Digest): string[];
  addNode(): TestNode;
}

/** A site of blob nodes in memory, its catalog, and what settles its copies; another site's node is the last. */
async function startSite(count: number, placement: SitePlacement = "eager"): Promise<Site> {
  await using open = new AsyncDisposableStack();
  const nodes = new Map<string, TestNode>();
  let processes: ProcessAddress[] = [];
  const add = (site: string, process: string): TestNode => {
    processes = [
      ...processes,
      { site, process, roles: ["blob-node"], grpc: `${site}-${process}:1`, bytes: `https://${process}:2` },
    ];
    const node = new TestNode(`${site}/${process}`, nodes);
    nodes.set(node.name, node);
    return node;
  };
  for (let i = 1; i <= count; i++) add("eu", `n${i}`);
  add("us", "far");
  const topology: Topology = {
    ...{ cluster: "c", site: "eu", process: "replicator-1", sites: ["eu", "us"] },
    get processes() {
      return processes;
    },
  };
  const peers = {
    topology,
    processes: (role: Role, site?: string) =>
      topology.processes.filter((one) => one.roles.includes(role) && one.site === (site ?? one.site)),
    process: (site: string, process: string) =>
      topology.processes.find((one) => one.site === site && one.process === process),
    client: (_service: unknown, address: ProcessAddress) =>
      new Proxy(
        {},
        { get: (_, method) => async (request: never) => nodes.get(nodeName(address))!.call(String(method), request) },
      ),
  } as unknown as Peers;
  const monitor = {
    health: (site: string) => ({ site, state: "live", rttMs: 5, failing: [] }),
  } as unknown as SiteMonitor;
  const parts = { clock: createSystemClock(), timers: systemTimers, random: systemRandom, log: silent };
  const path = await mkdtemp(join(tmpdir(), "copies-"));
  open.defer(() => rm(path, { recursive: true }));
  const logs = open.use(await openEmbeddedLogs({ ...parts, site: "eu", writer: "eu/replicator-1", path }));
  const catalog = open.use(
    await openCatalog({
      ...{ ...parts, site: "eu", writer: "replicator-1", serving: true, alone: true, logs },
      ...{ view: createMemoryStore(), outbox: createMemoryStore() },
    }),
  );
  const config = replicatorConfigSchema.parse({
    nodeLostAfterMs: 1_000,
    copyDelayMs: 10,
    retryFirstMs: 50,
    retryMaxMs: 200,
  });
  const rpc = open.use(createRpcServer({ log: silent, timers: systemTimers }));
  const copies = open.use(startCopies({ ...parts, config, catalog, peers, monitor, placement: () => placement, rpc }));
  const owned = open.move();
  let pushed = 0;
  return {
    nodes: [...nodes.values()],
    catalog,
    copies,
    async push(at) {
      const digests: Digest[] = [];
      for (let i = 0; i < BLOBS; i++) {
        const content = Buffer.from(`blob ${pushed++} ${"x".repeat(pushed)}`);
        const digest = digestOf(content);
        digests.push(digest);
        const changes: Change[] = [{ kind: "link", repository: "app", digest, size: content.byteLength }];
        for (const node of at(digest)) {
          node.disk.set(digest, content);
          changes.push({ kind: "blob-at-node", digest, node: node.name, size: content.byteLength, state: "present" });
        }
        await catalog.commit(changes);
      }
      return digests;
    },
    at: (digest) =>
      [...nodes.values()]
        .filter(({ name, disk }) => name.startsWith("eu/") && disk.has(digest))
        .map(({ name }) => name)
        .toSorted(),
    addNode: () => add("eu", `n${nodes.size}`),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

const ownersAmong = (digest: Digest, names: readonly string[]): string[] =>
  ownersOf(
    digest,
    names.map((node) => ({ node })),
    2,
  ).toSorted();

/** True when each blob is at its owners among these nodes, on disk and in the records, and nowhere else of the site. */
function settled(site: Site, digests: readonly Digest[], among: readonly string[]): boolean {
  return digests.every((digest) => {
    const wanted = ownersAmong(digest, among).join();
    const recorded = site.catalog.holders(digest).filter((node) => node.startsWith("eu/"));
    return site.at(digest).join() === wanted && recorded.toSorted().join() === wanted;
  });
}

describe("copies inside a site", () => {
  test("that an upload left elsewhere move to their owners, and none is too many", async () => {
    await using site = await startSite(3);
    const [a, b] = site.nodes as [TestNode, TestNode];
    const digests = await site.push(() => [a, b]);
    await until(() => settled(site, digests, ["eu/n1", "eu/n2", "eu/n3"]), "all are settled");
    await until(() => site.copies.progress.waiting === 0, "nothing waits");
    const moved = digests.filter((digest) => ownersAmong(digest, ["eu/n1", "eu/n2", "eu/n3"]).includes("eu/n3"));
    assert.ok(moved.length > 0);
    assert.deepEqual([site.copies.progress.copied, site.copies.progress.removed], [moved.length, moved.length]);
  });

  test("are not made of what only other sites hold where the site is lazy, whoever looks through everything", async () => {
    await using site = await startSite(2, "lazy");
    const [a, , far] = site.nodes as [TestNode, TestNode, TestNode];
    const distant = await site.push(() => [far]);
    const pulled = await site.push(() => [a, far]);
    site.copies.askNodes();
    await until(() => settled(site, pulled, ["eu/n1", "eu/n2"]), "what was pulled here is settled");
    await until(() => !site.copies.progress.scanning && site.copies.progress.waiting === 0, "all was looked through");
    assert.deepEqual(
      distant.flatMap((digest) => site.at(digest)),
      [],
    );
  });

  test("are made again when a file or a whole disk is gone, from the twin or from another site", async () => {
    await using site = await startSite(2);
    const [a, b, far] = site.nodes as [TestNode, TestNode, TestNode];
    const digests = await site.push(() => [a, b]);
    const distant = await site.push(() => [a, far]);
    const both = ["eu/n1", "eu/n2"];
    await until(() => settled(site, [...digests, ...distant], both), "all are settled");
    a.down = true;
    await until(() => site.copies.watch.state("eu/n1") === "away", "n1 is away");
    a.disk.clear();
    b.disk.delete(distant[0]!);
    b.down = true;
    await until(() => site.copies.watch.state("eu/n2") === "away", "n2 is away");
    a.down = false;
    b.down = false;
    await until(() => settled(site, [...digests, ...distant], both), "all are there again");
  });

  test("of a node that is lost are made elsewhere, and the surplus goes when it is back", async () => {
    await using site = await startSite(3);
    const all = ["eu/n1", "eu/n2", "eu/n3"];
    const byName = (name: string): TestNode => site.nodes.find((node) => node.name === name)!;
    const digests = await site.push((digest) => ownersAmong(digest, all).map(byName));
    const victim = byName("eu/n2");
    victim.down = true;
    const two = (): boolean =>
      digests.every((digest) => site.at(digest).filter((node) => node !== "eu/n2").length === 2);
    await until(two, "two copies of each are alive");
    victim.down = false;
    await until(() => settled(site, digests, all), "all are where they belong");
  });

  test("leave a node that is drained, recorded or not, until its disk is empty; then they come to one that is added", async () => {
    await using site = await startSite(3);
    const [a, b, c] = site.nodes as [TestNode, TestNode, TestNode];
    const digests = await site.push((digest) =>
      ownersAmong(digest, ["eu/n1", "eu/n2", "eu/n3"]).map((name) => site.nodes.find((node) => node.name === name)!),
    );
    const unrecorded = digestOf("bytes of a push that was not finished");
    c.disk.set(unrecorded, Buffer.from("bytes of a push that was not finished"));
    c.draining = true;
    await until(() => c.disk.size === 0, "the drained node is empty");
    await until(() => settled(site, digests, ["eu/n1", "eu/n2"]), "all are at the others");
    assert.ok(a.disk.has(unrecorded) && b.disk.has(unrecorded));
    const added = site.addNode();
    await until(() => settled(site, digests, ["eu/n1", "eu/n2", added.name]), "the new node has its part");
    assert.ok(added.disk.size > 0);
  });

  test("are never removed on the word of a record: an owner that lacks its copy gets it first", async () => {
    await using site = await startSite(3);
    const all = ["eu/n1", "eu/n2", "eu/n3"];
    const byName = (name: string): TestNode => site.nodes.find((node) => node.name === name)!;
    const liar: Change[] = [];
    const digests = await site.push((digest) => {
      const owners = ownersAmong(digest, all);
      for (const node of owners) liar.push({ kind: "blob-at-node", digest, node, size: 1, state: "present" });
      return [byName(all.find((node) => !owners.includes(node))!)];
    });
    await site.catalog.commit(liar);
    const least = digests.map(() => 3);
    await until(() => {
      for (const [i, digest] of digests.entries()) least[i] = Math.min(least[i]!, site.at(digest).length);
      return settled(site, digests, all);
    }, "all are settled");
    assert.ok(least.every((count) => count >= 1));
  });

  test("are not made of what no repository links, which the collection removes node by node, until one does", async () => {
    await using site = await startSite(2);
    const [a, b] = site.nodes as [TestNode, TestNode];
    const content = Buffer.from("what nobody needs");
    const digest = digestOf(content);
    a.disk.set(digest, content);
    await site.catalog.commit([
      { kind: "blob-at-node", digest, node: a.name, size: content.byteLength, state: "present" },
    ]);
    // Pushed later, and so looked at later.
    const linked = await site.push(() => [a]);
    await until(() => settled(site, linked, ["eu/n1", "eu/n2"]), "what is linked has its copies");
    assert.equal(b.disk.has(digest), false);
    await site.catalog.commit([{ kind: "link", repository: "app", digest, size: content.byteLength }]);
    await until(() => settled(site, [digest], ["eu/n1", "eu/n2"]), "it has its copies once it is linked");
  });
});
