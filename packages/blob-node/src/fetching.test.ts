import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";
import { ContentError, type Digest, digestOf } from "@meridian/oci";
import type { DevPki } from "@meridian/pki";
import type { BlobStore } from "@meridian/storage";
import type { NodeBytes, OpenSpan } from "@meridian/transfer";
import { lyingStore } from "./lying-store.fixture.ts";
import {
  Collected,
  createTestCertificates,
  createTestCluster,
  StallTime,
  type TestCluster,
  until,
} from "./test-cluster.ts";

const content = randomBytes(4_500_000);
const digest = digestOf(content);
const HELD_BACK = 256 * 1024;

async function put(store: BlobStore, bytes: Uint8Array = content): Promise<Digest> {
  await using upload = await store.begin(`put-${randomBytes(8).toString("hex")}`);
  await upload.write(bytes);
  return (await upload.commit(digestOf(bytes))).digest;
}

interface Pull {
  readonly holders?: readonly string[];
  readonly digest?: Digest;
  readonly span?: OpenSpan;
  readonly sink?: Collected;
  readonly signal?: AbortSignal;
}

async function pull(from: NodeBytes, { holders = ["eu/blob-node", "ap/blob-node"], span, signal, ...rest }: Pull = {}) {
  const sink = rest.sink ?? new Collected();
  await using blob = await from.open(rest.digest ?? digest, { holders, span, signal });
  if (blob === undefined) return undefined;
  await blob.read({ start: span?.start ?? 0, end: span?.end ?? blob.size }, sink, { signal });
  return { bytes: sink.bytes(), route: blob.route, servedBy: blob.servedBy };
}

let dir: string;
let pki: DevPki;
let cluster: TestCluster;
before(async () => {
  dir = await mkdtemp(join(tmpdir(), "meridian-blob-node-"));
  pki = await createTestCertificates(dir);
});
after(() => rm(dir, { recursive: true }));
beforeEach(async () => {
  cluster = await createTestCluster(pki);
});
afterEach(() => cluster[Symbol.asyncDispose]());

describe("a blob that only other sites hold", () => {
  it("crosses the link once for twenty cold readers, and is local afterwards", async () => {
    await using eu = await cluster.start("eu");
    await put(eu.store);
    await using us = await cluster.start("us");
    const link = await cluster.link("us", "eu");
    const readers = Array.from({ length: 20 }, (_, i) => pull(i % 2 === 0 ? us.remote : us.node.bytes));
    for (const read of await Promise.all(readers)) {
      assert.ok(read?.bytes.equals(content));
      assert.deepEqual([read?.servedBy, read?.route], ["eu/blob-node", "stream"]);
    }
    assert.ok(link.bytes <= content.length * 1.05, `${link.bytes} bytes for ${content.length}`);
    const again = await pull(us.remote);
    assert.deepEqual([again?.route, again?.servedBy], ["local", "us/blob-node"]);
    assert.deepEqual(us.stored, [digest]);
  });

  it("goes on from the next holder when one dies in mid-stream", async () => {
    await using eu = await cluster.start("eu");
    await using ap = await cluster.start("ap");
    await put(eu.store);
    await put(ap.store);
    await using us = await cluster.start("us");
    (await cluster.link("us", "eu")).cutAfter(3_000_000);
    const read = await pull(us.remote);
    assert.ok(read?.bytes.equals(content));
    const crossed = (await cluster.link("us", "eu")).bytes + (await cluster.link("us", "ap")).bytes;
    assert.ok(crossed < content.length * 1.1, `${crossed} bytes crossed`);
    assert.ok(us.logged.includes("holder given up eu/blob-node"));
  });

  it("goes on from the next holder when one stalls", async () => {
    await using eu = await cluster.start("eu");
    await using ap = await cluster.start("ap");
    await put(eu.store);
    await put(ap.store);
    const time = new StallTime();
    await using us = await cluster.start("us", { config: { stallTimeoutMs: 1_000 }, deps: time });
    const link = await cluster.link("us", "eu");
    link.stopAfter(3_000_000);
    const reading = pull(us.remote);
    await link.stopped;
    await time.passUntil(() => us.logged.includes("holder given up eu/blob-node"), "eu is given up");
    assert.ok((await reading)?.bytes.equals(content));
    const crossed = link.bytes + (await cluster.link("us", "ap")).bytes;
    assert.ok(crossed < content.length * 1.1, `${crossed} bytes crossed`);
  });

  it("holds the last piece back until all has come", async () => {
    await using eu = await cluster.start("eu");
    await put(eu.store);
    await using us = await cluster.start("us");
    const link = await cluster.link("us", "eu");
    link.stopAfter(content.length - 100_000);
    const sink = new Collected();
    const reading = pull(us.remote, { sink });
    await link.stopped;
    await until(() => sink.length === content.length - HELD_BACK, "all but the last piece is sent");
    link.cut();
    link.resume();
    assert.ok((await reading)?.bytes.equals(content));
  });

  it("goes on with the fill when its reader aborts", async () => {
    await using eu = await cluster.start("eu");
    await put(eu.store);
    await using us = await cluster.start("us");
    const link = await cluster.link("us", "eu");
    link.stopAfter(2_000_000);
    const abort = new AbortController();
    const reading = pull(us.remote, { signal: abort.signal });
    await link.stopped;
    abort.abort(new Error("enough"));
    await assert.rejects(reading, { message: "enough" });
    link.cut();
    link.resume();
    await until(() => us.stored.includes(digest), "the blob is stored");
    assert.ok(link.bytes < content.length * 1.1);
  });

  it("lets no reader's abort count against a holder", async () => {
    await using eu = await cluster.start("eu");
    await put(eu.store);
    const reports: string[] = [];
    const monitor = {
      health: (site: string) => ({ site, state: "live", failing: [] }) as const,
      report: (site: string, outcome: string) => void reports.push(`${site} ${outcome}`),
    };
    await using us = await cluster.start("us", { deps: { monitor } });
    const link = await cluster.link("us", "eu");
    link.stopAfter(2_000_000);
    const abort = new AbortController();
    const readings = [us.remote, us.node.bytes].map((from) => pull(from, { signal: abort.signal }));
    await link.stopped;
    abort.abort(new Error("enough"));
    for (const reading of readings) await assert.rejects(reading, { message: "enough" });
    assert.deepEqual(reports, []);
    // What does count: a connection that breaks, and the same holder's good answer afterwards.
    link.cut();
    link.resume();
    await until(() => us.stored.includes(digest), "the blob is stored");
    assert.deepEqual(reports, ["eu failed", "eu ok"]);
  });

  it("goes on where it stopped after a restart of the fetching node", async () => {
    await using eu = await cluster.start("eu");
    await put(eu.store);
    const first = await cluster.start("us");
    const link = await cluster.link("us", "eu");
    link.stopAfter(3_500_000);
    const sink = new Collected();
    const reading = assert.rejects(pull(first.node.bytes, { sink }));
    await link.stopped;
    await until(() => sink.length > 3_400_000, "what came is passed on");
    await first[Symbol.asyncDispose]();
    await reading;
    link.cut();
    link.resume();
    const before = link.bytes;
    await using second = await cluster.start("us");
    assert.ok((await pull(second.remote))?.bytes.equals(content));
    const moved = link.bytes - before;
    assert.ok(moved < 1_300_000, `${moved} bytes were fetched again`);
  });

  it("lets a slow reader take its time while others finish", async () => {
    await using eu = await cluster.start("eu");
    await put(eu.store);
    await using us = await cluster.start("us");
    const hold = Promise.withResolvers<void>();
    const slow = new Collected();
    slow.before = () => hold.promise;
    const reading = pull(us.remote, { sink: slow });
    assert.ok((await pull(us.remote))?.bytes.equals(content));
    assert.equal((await pull(us.remote))?.route, "local");
    assert.equal(slow.length, 0);
    hold.resolve();
    assert.ok((await reading)?.bytes.equals(content));
  });

  it("lets overlapping ranges share one crossing, and keeps the whole of what only ranges were asked of", async () => {
    await using eu = await cluster.start("eu");
    await put(eu.store);
    await using us = await cluster.start("us");
    const link = await cluster.link("us", "eu");
    const spans = [
      { start: 0, end: 1_000_000 },
      { start: 500_000, end: 2_000_000 },
      { start: 1_000_000, end: 4_000_000 },
      { start: 4_400_000 },
    ];
    const reads = await Promise.all(spans.map((span) => pull(us.remote, { span })));
    for (const [i, read] of reads.entries())
      assert.ok(read?.bytes.equals(content.subarray(spans[i]?.start, spans[i]?.end)), `range ${i}`);
    await until(() => us.stored.includes(digest), "the blob is stored");
    assert.ok(link.bytes <= content.length * 1.05, `${link.bytes} bytes for ${content.length}`);
  });

  it("answers a cold range far ahead without waiting for the fill", async () => {
    const big = randomBytes(12_000_000);
    await using eu = await cluster.start("eu");
    await using ap = await cluster.start("ap");
    const name = await put(eu.store, big);
    await put(ap.store, big);
    await using us = await cluster.start("us");
    const link = await cluster.link("us", "eu");
    link.stopAfter(500_000);
    const filling = pull(us.remote, { digest: name });
    await link.stopped;
    const span = { start: 11_000_000, end: 11_500_000 };
    const holders = ["ap/blob-node"];
    const range = await pull(us.remote, { digest: name, span, holders });
    assert.ok(range?.bytes.equals(big.subarray(span.start, span.end)));
    link.cut();
    link.resume();
    assert.ok((await filling)?.bytes.equals(big));
  });

  it("tells the size without fetching when nothing is to be read", async () => {
    await using eu = await cluster.start("eu");
    await put(eu.store);
    await using us = await cluster.start("us");
    await using blob = await us.remote.open(digest, { holders: ["eu/blob-node"], span: { start: 0, end: 0 } });
    assert.equal(blob?.size, content.length);
    assert.equal(await us.store.stat(digest), undefined);
    assert.ok((await cluster.link("us", "eu")).bytes < 20_000);
  });

  it("is absent when no holder has it, unavailable when one could not be asked", async () => {
    await using _eu = await cluster.start("eu");
    await using _ap = await cluster.start("ap");
    await using us = await cluster.start("us");
    assert.equal(await pull(us.remote), undefined);
    assert.equal(await pull(us.remote, { holders: [] }), undefined);
    assert.equal(await pull(us.remote, { holders: ["us/blob-node"] }), undefined);
    (await cluster.link("us", "ap")).cut();
    await assert.rejects(pull(us.remote), { kind: "unavailable" });
  });

  it("goes on serving when this site's disk is full", async () => {
    await using eu = await cluster.start("eu");
    await put(eu.store);
    const full = () => Promise.reject(new ContentError("no-space", "the disk is full"));
    const store = (real: BlobStore): BlobStore =>
      new Proxy(real, { get: (t, k) => (k === "begin" ? full : bound(t, k)) });
    await using us = await cluster.start("us", { store });
    assert.ok((await pull(us.remote))?.bytes.equals(content));
    const span = { start: 10, end: 4_000_000 };
    assert.ok((await pull(us.remote, { span }))?.bytes.equals(content.subarray(10, 4_000_000)));
  });

  it("asks a holder of a site that is down last, and only briefly", async () => {
    await using eu = await cluster.start("eu");
    await using ap = await cluster.start("ap");
    await put(eu.store);
    await put(ap.store);
    const reports: string[] = [];
    const monitor = {
      health: (site: string) => ({ site, state: site === "eu" ? "down" : "live", failing: [] }) as const,
      report: (site: string, outcome: string) => void reports.push(`${site} ${outcome}`),
    };
    const time = new StallTime();
    const config = { stallTimeoutMs: 60_000 };
    await using us = await cluster.start("us", { config, deps: { ...time, monitor } });
    (await cluster.link("us", "eu")).stopAfter(0);
    assert.equal((await pull(us.remote))?.servedBy, "ap/blob-node");
    assert.deepEqual(reports, ["ap ok"]);
    await us.store.delete(digest);
    let settled = false;
    const asking = pull(us.remote, { holders: ["eu/blob-node"] }).finally(() => {
      settled = true;
    });
    const refused = assert.rejects(asking, { kind: "unavailable" });
    const passed = await time.passUntil(() => settled, "eu is given up");
    await refused;
    assert.ok(passed < config.stallTimeoutMs / 2, `${passed} ms, like any other holder`);
    assert.deepEqual(reports, ["ap ok", "eu failed", "eu failed"]);
  });
});

describe("a holder that sends wrong bytes", () => {
  it("is cut off before the last piece, quarantined, and nothing of it is stored", async () => {
    await using eu = await cluster.start("eu", { store: (store) => lyingStore(store, 1_000) });
    await put(eu.store);
    await using us = await cluster.start("us");
    const sink = new Collected();
    const holders = ["eu/blob-node"];
    await assert.rejects(pull(us.remote, { sink, holders }), { kind: "digest-mismatch" });
    assert.ok(sink.length <= content.length - HELD_BACK);
    assert.equal(await us.store.stat(digest), undefined);
    assert.deepEqual(us.logged[0], "replica sent wrong bytes and is quarantined eu/blob-node");
    const link = await cluster.link("us", "eu");
    const crossed = link.bytes;
    // Not merely unavailable: whoever asks must not go to the liar itself.
    await assert.rejects(pull(us.remote, { holders }), { kind: "digest-mismatch" });
    assert.equal(link.bytes, crossed);
  });

  it("is replaced by another holder for the next request, and for readers who were sent nothing yet", async () => {
    await using eu = await cluster.start("eu", { store: (store) => lyingStore(store, 4_499_000) });
    await using ap = await cluster.start("ap");
    await put(eu.store);
    await put(ap.store);
    await using us = await cluster.start("us");
    // Its whole span is in the last piece: it has been sent nothing when the hash turns out wrong.
    const tail = pull(us.remote, { span: { start: content.length - 1_000, end: content.length } });
    await assert.rejects(pull(us.remote), { kind: "digest-mismatch" });
    assert.ok((await tail)?.bytes.equals(content.subarray(-1_000)));
    assert.ok((await pull(us.remote))?.bytes.equals(content));
  });

  it("is found out when its bytes were mixed with another's", async () => {
    await using eu = await cluster.start("eu", { store: (store) => lyingStore(store, 1_000) });
    await using ap = await cluster.start("ap");
    await put(eu.store);
    await put(ap.store);
    await using us = await cluster.start("us");
    const link = await cluster.link("us", "eu");
    link.cutAfter(3_000_000);
    const reading = assert.rejects(pull(us.node.bytes), { kind: "digest-mismatch" });
    await link.stopped;
    link.resume();
    await reading;
    await until(() => us.stored.includes(digest), "the right bytes are stored");
    assert.ok(us.logged.includes("replica sent wrong bytes and is quarantined eu/blob-node"));
    assert.ok((await pull(us.remote, { holders: [] }))?.bytes.equals(content));
  });

  it("does not leave a partial behind that spoils the next fetch", async () => {
    await using eu = await cluster.start("eu", { store: (store) => lyingStore(store, 1_000) });
    await using ap = await cluster.start("ap");
    await put(eu.store);
    await put(ap.store);
    const first = await cluster.start("us");
    const link = await cluster.link("us", "eu");
    link.stopAfter(3_000_000);
    const sink = new Collected();
    const reading = assert.rejects(pull(first.node.bytes, { sink }));
    await link.stopped;
    await until(() => sink.length > 2_900_000, "what came is passed on");
    await first[Symbol.asyncDispose]();
    await reading;
    await using second = await cluster.start("us");
    const holders = ["ap/blob-node"];
    await pull(second.remote, { holders }).catch(() => undefined);
    await until(() => second.stored.includes(digest), "the right bytes are stored");
    assert.ok((await pull(second.remote, { holders }))?.bytes.equals(content));
  });
});

function bound<T extends object>(target: T, key: string | symbol): unknown {
  const value = Reflect.get(target, key) as unknown;
  return typeof value === "function" ? value.bind(target) : value;
}
