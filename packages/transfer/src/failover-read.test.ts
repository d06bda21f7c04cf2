import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, it } from "node:test";
import { ContentError, type Digest } from "@meridian/oci";
import { createManualTime, createSystemClock, systemTimers } from "@meridian/runtime";
import { type FailoverReadOptions, failoverRead } from "./failover-read.ts";
import { createMemoryNode, type MemoryNode } from "./memory-node.ts";
import { collect } from "./test-cluster.ts";

const content = randomBytes(1_000_000);
const STEP_MS = 5;

function nodes(...names: string[]): { all: Map<string, MemoryNode>; digest: Digest } {
  const all = new Map(names.map((name) => [name, createMemoryNode(name)]));
  let digest: Digest | undefined;
  for (const node of all.values()) digest = node.put(content);
  return { all, digest: digest as Digest };
}

function read(
  { all, digest }: ReturnType<typeof nodes>,
  options: Partial<FailoverReadOptions> & Pick<FailoverReadOptions, "sink">,
) {
  return failoverRead({
    sources: () => [...all.keys()],
    open: async (source, span, signal) => all.get(source)?.open(digest, { holders: [], span, signal }),
    span: { start: 0 },
    clock: createSystemClock(),
    timers: systemTimers,
    ...options,
  });
}

/** The same, while time passes that the machine's own load has no part in. */
async function readInTime(
  cluster: Parameters<typeof read>[0],
  options: Parameters<typeof read>[1],
  { clock, timers, advance } = createManualTime(0),
) {
  let settled = false;
  const reading = read(cluster, { clock, timers, ...options }).finally(() => {
    settled = true;
  });
  reading.catch(() => {});
  for (let steps = 0; !settled; steps++) {
    assert.ok(steps < 1_000, "it ends");
    await advance(STEP_MS);
  }
  return reading;
}

function fromOffset(limit: number, act: (signal?: AbortSignal) => Promise<void>): MemoryNode["beforeChunk"] {
  return (offset, signal) => (offset >= limit ? act(signal) : Promise.resolve());
}

describe("failoverRead", () => {
  it("reads from the first source alone when it is well", async () => {
    const cluster = nodes("eu/a", "us/b");
    const sink = collect();
    const result = await read(cluster, { sink });
    assert.deepEqual(sink.bytes(), content);
    assert.deepEqual(result, { size: content.length, sources: ["eu/a"] });
    assert.equal(cluster.all.get("us/b")?.asked.length, 0);
  });

  it("goes on at the same offset with the next source when one dies", async () => {
    const cluster = nodes("eu/a", "us/b");
    const failed: string[] = [];
    cluster.all.get("eu/a")!.beforeChunk = fromOffset(500_000, () =>
      Promise.reject(new ContentError("unavailable", "disk gone")),
    );
    const sink = collect();
    const result = await read(cluster, { sink, onSourceFailed: (source) => failed.push(source) });
    assert.deepEqual(sink.bytes(), content);
    assert.deepEqual(result.sources, ["eu/a", "us/b"]);
    assert.deepEqual(failed, ["eu/a"]);
    assert.equal(cluster.all.get("us/b")!.asked[0]!.span!.start, cluster.all.get("eu/a")!.sent);
  });

  it("replaces a source that stalls, even one that ignores its signal, and takes nothing from it afterwards", async () => {
    const cluster = nodes("eu/a", "us/b");
    const wake = Promise.withResolvers<void>();
    cluster.all.get("eu/a")!.beforeChunk = fromOffset(500_000, () => wake.promise);
    const sink = collect();
    const result = await readInTime(cluster, { sink, stallTimeoutMs: 40 });
    wake.resolve();
    await systemTimers.sleep(5);
    assert.deepEqual(sink.bytes(), content);
    assert.deepEqual(result.sources, ["eu/a", "us/b"]);
  });

  it("replaces a source that does not answer at all", async () => {
    const cluster = nodes("eu/a", "us/b");
    const sink = collect();
    const { sources } = await readInTime(cluster, {
      sink,
      stallTimeoutMs: 40,
      open: (source, span) =>
        source === "eu/a"
          ? new Promise(() => {})
          : cluster.all.get(source)!.open(cluster.digest, { holders: [], span }),
    });
    assert.deepEqual(sources, ["us/b"]);
  });

  it("does not blame the source for a slow sink", async () => {
    const cluster = nodes("eu/a", "us/b");
    const time = createManualTime(0);
    let chunks = 0;
    const slow = { write: () => (chunks++ === 1 ? time.timers.sleep(150) : undefined) };
    const { sources } = await readInTime(cluster, { sink: slow, stallTimeoutMs: 40 }, time);
    assert.deepEqual(sources, ["eu/a"]);
  });

  it("throws what the sink throws, and asks nobody else", async () => {
    const cluster = nodes("eu/a", "us/b");
    const gone = new Error("the client is gone");
    await assert.rejects(read(cluster, { sink: { write: () => Promise.reject(gone) } }), gone);
    assert.equal(cluster.all.get("us/b")!.asked.length, 0);
  });

  it("tries each source a bounded number of times, then is unavailable", async () => {
    const cluster = nodes("eu/a", "us/b");
    const failed: string[] = [];
    for (const node of cluster.all.values()) node.beforeChunk = () => Promise.reject(new Error("broken"));
    await assert.rejects(
      read(cluster, { sink: collect(), attemptsPerSource: 2, onSourceFailed: (source) => failed.push(source) }),
      { kind: "unavailable" },
    );
    assert.deepEqual(failed, ["eu/a", "us/b", "eu/a", "us/b"]);
  });

  it("is not-found when every source says so, unavailable when one could not say", async () => {
    const cluster = nodes("eu/a", "us/b");
    for (const node of cluster.all.values()) node.blobs.clear();
    await assert.rejects(read(cluster, { sink: collect() }), { kind: "not-found" });
    const open: FailoverReadOptions["open"] = (source) =>
      source === "eu/a" ? Promise.reject(new Error("down")) : Promise.resolve(undefined);
    await assert.rejects(read(cluster, { sink: collect(), open }), { kind: "unavailable" });
    await assert.rejects(read(cluster, { sink: collect(), sources: () => [] }), { kind: "unavailable" });
  });

  it("leaves a source that tells another size", async () => {
    const cluster = nodes("eu/a", "us/b");
    cluster.all.get("eu/a")!.blobs.set(cluster.digest, content.subarray(1));
    const sink = collect();
    const { sources } = await read(cluster, { sink, size: content.length });
    assert.deepEqual(sources, ["us/b"]);
  });

  it("does not complete from another source what its source took back", async () => {
    const cluster = nodes("eu/a", "us/b");
    cluster.all.get("eu/a")!.beforeChunk = fromOffset(500_000, () =>
      Promise.reject(new ContentError("digest-mismatch", "it was wrong")),
    );
    await assert.rejects(read(cluster, { sink: collect() }), { kind: "digest-mismatch" });
    assert.equal(cluster.all.get("us/b")!.asked.length, 0);
  });

  it("waits longer for a source that streams from others itself", async () => {
    const cluster = nodes("eu/a", "us/b");
    const first = cluster.all.get("eu/a")!;
    first.route = "stream";
    const time = createManualTime(0);
    first.beforeChunk = fromOffset(900_000, () => time.timers.sleep(150));
    const { sources } = await readInTime(cluster, { sink: collect(), stallTimeoutMs: 40 }, time);
    assert.deepEqual(sources, ["eu/a"]);
  });

  it("stops at an abort", async () => {
    const cluster = nodes("eu/a");
    const abort = new AbortController();
    cluster.all.get("eu/a")!.beforeChunk = fromOffset(500_000, () => {
      abort.abort(new Error("enough"));
      return new Promise(() => {});
    });
    await assert.rejects(read(cluster, { sink: collect(), signal: abort.signal }), { message: "enough" });
  });
});
