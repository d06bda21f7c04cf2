import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { type Change, decodeRecord, fromWireDigest } from "@meridian/catalog";
import type { EventLog, LogEntry } from "@meridian/eventlog";
import { diffV1, policyV1 } from "@meridian/wire";
import { TestCluster, type TestSite, until } from "../test-cluster.fixture.ts";
import { blobsOf, commit, hasAll, type Image, imageAt, push } from "../test-image.fixture.ts";

const SITES = ["eu", "us", "ap"] as const;
const { FOUND, REPAIRED } = diffV1.DifferenceState;

let cluster: TestCluster;

before(async () => {
  cluster = await TestCluster.start(SITES, { compareEveryMs: 0, repairEveryMs: 100 });
});
after(() => cluster[Symbol.asyncDispose]());

/** What `meridian diff` asks a site's replicator. */
async function compare(site: TestSite, other: string, repair = false): Promise<diffV1.Comparison> {
  const comparer = site.rpc().local(diffV1.ComparisonService)!;
  await comparer.begin({ other, repair });
  for (;;) {
    const { comparison } = await comparer.show({ other });
    if (comparison !== undefined && comparison.finishedMs > 0n) {
      assert.equal(comparison.failure, "");
      return comparison;
    }
    await new Promise((done) => setTimeout(done, 5));
  }
}

const told = ({ differences }: diffV1.Comparison): string[] =>
  differences.map(({ kind, name, left, right }) => `${kind} ${name}: ${left}; ${right}`);

async function pushed(site: TestSite, repository: string, name: string): Promise<Image> {
  const image = imageAt(site, name, [40, 50]);
  await push(site, repository, image);
  await until(() => SITES.every((one) => hasAll(cluster.site(one), image)), `${name} is everywhere`);
  await until(
    () =>
      SITES.every((one) =>
        blobsOf(image).every(({ digest }) => cluster.site(one).catalog.holders(digest).length === 3),
      ),
    `all holders of ${name} are known everywhere`,
  );
  return image;
}

/** Takes rows out of a site's view that no fold will bring back. */
async function removeRows(site: TestSite, ...keys: string[]): Promise<void> {
  await site.view.transaction((tx) => {
    for (const key of keys) assert.equal(tx.delete(key), true, key);
  });
}

/** The entry of a register in a log; it must have one. */
async function entryOf(log: EventLog, key: string): Promise<LogEntry> {
  const signal = AbortSignal.timeout(10_000);
  for await (const { entries } of log.tail(0, { signal }))
    for (const entry of entries) if (keyOf(entry) === key) return entry;
  throw new Error(`the log has no ${key}`);
}

function keyOf({ subject, payload }: LogEntry): string | undefined {
  if (subject.split(".")[2] !== "link") return undefined;
  const kind = decodeRecord(payload).key?.kind;
  return kind?.case === "link" ? `rl ${kind.value.repository} ${fromWireDigest(kind.value.digest)}` : undefined;
}

test("sites that hold the same say so, in two messages to each process and one about blobs", async () => {
  await pushed(cluster.site("eu"), "team/same", "same");
  const comparison = await compare(cluster.site("eu"), "us");
  assert.deepEqual([comparison.found, comparison.underWay, comparison.messages], [0n, 0n, 3n]);
  assert.ok(comparison.registers > 10n && comparison.blobs >= 4n);
});

test("a record that one view has lost is named, and put back from the site's own logs with all that it shows", async () => {
  const [eu, us] = [cluster.site("eu"), cluster.site("us")];
  const image = await pushed(eu, "team/lost", "lost");
  await removeRows(us, "rt team/lost latest", "t team/lost latest");
  const head = async (): Promise<number> => (await (await eu.logs.open("META_eu")).head()).sequence;
  const before = await head();
  const [difference, ...more] = told(await compare(eu, "us"));
  assert.deepEqual(more, []);
  assert.match(
    difference ?? "",
    new RegExp(`^tag team/lost:latest: eu has ${image.manifest.digest}, written at eu on .*; us has nothing$`),
  );
  const repaired = await compare(eu, "us", true);
  assert.deepEqual([repaired.found, repaired.repaired], [1n, 1n]);
  assert.equal(await head(), before, "nothing had to be published");
  assert.equal((await compare(us, "eu")).found, 0n);
  assert.equal(us.catalog.tag("team/lost", "latest")?.digest, image.manifest.digest);
  await commit(us, [{ kind: "delete-tag", repository: "team/lost", tag: "latest", who: "test" }]);
  assert.equal(us.catalog.tag("team/lost", "latest"), undefined);
});

test("what a site's view and logs have both lost is published once more by the other site", async () => {
  const [eu, us] = [cluster.site("eu"), cluster.site("us")];
  const image = await pushed(eu, "team/gone", "gone");
  const { digest } = image.config;
  const copy = await us.logs.open("FROM_eu");
  const key = `rl team/gone ${digest}`;
  assert.equal(await copy.discard([await entryOf(copy, key)]), 1);
  await removeRows(us, key);
  const repaired = await compare(us, "eu", true);
  assert.deepEqual(
    repaired.differences.map(({ kind, name, state }) => [kind, name, state]),
    [["link", `team/gone@${digest}`, REPAIRED]],
  );
  assert.equal((await compare(eu, "us")).found, 0n);
});

test("a deletion that one view has lost is sent again: what was deleted does not come back", async () => {
  const [eu, us] = [cluster.site("eu"), cluster.site("us")];
  await pushed(us, "team/dead", "dead");
  const row = us.view.get("rt team/dead latest");
  assert.ok(row !== undefined);
  await commit(eu, [{ kind: "delete-tag", repository: "team/dead", tag: "latest", who: "test" }]);
  await until(() => us.catalog.tag("team/dead", "latest") === undefined, "us shows the deletion");
  await us.view.transaction((tx) => tx.put("rt team/dead latest", row));
  const [difference] = told(await compare(eu, "us"));
  assert.match(difference ?? "", /eu has a deletion of what was written at us on .*; us has sha256:/);
  assert.equal((await compare(eu, "us", true)).repaired, 1n);
  for (const site of [eu, us]) assert.equal(site.catalog.tag("team/dead", "latest"), undefined);
});

test("bytes that are gone from a disk are named although the records say otherwise, and are fetched again", async () => {
  const [eu, us] = [cluster.site("eu"), cluster.site("us")];
  const image = await pushed(us, "team/bytes", "bytes");
  const [layer] = image.layers;
  us.blobs.delete(layer!.digest);
  const found = await compare(eu, "us");
  assert.deepEqual(
    found.differences.map(({ kind, state }) => [kind, state]),
    [["blob", FOUND]],
  );
  assert.match(
    told(found)[0] ?? "",
    /: eu has its bytes; us does not have its bytes although its records say so, which team\/bytes shows$/,
  );
  const repaired = await compare(eu, "us", true);
  assert.deepEqual([repaired.found, repaired.repaired], [1n, 1n]);
  assert.ok(hasAll(us, image));
});

test("what placement keeps away, or leaves to the first pull, is no difference", async () => {
  const [eu, us] = [cluster.site("eu"), cluster.site("us")];
  for (const site of [eu, us, cluster.site("ap")]) {
    const settings = { prefix: "team/lazy", placement: { lazy: ["us"], never: ["ap"] } };
    site.settings.put(create(policyV1.RepositorySettingsSchema, settings));
  }
  const image = imageAt(eu, "lazy", [60]);
  await push(eu, "team/lazy", image);
  await until(() => us.catalog.tag("team/lazy", "latest") !== undefined, "us knows the tag");
  for (const other of ["us", "ap"]) assert.deepEqual(told(await compare(eu, other)), []);
  assert.equal(us.blobs.has(image.layers[0]!.digest), false);
});

test("what is under way is not called a difference", async () => {
  const [eu, us] = [cluster.site("eu"), cluster.site("us")];
  const gate = Promise.withResolvers<void>();
  us.gate = gate.promise;
  const image = imageAt(eu, "slow", [70]);
  await push(eu, "team/slow", image);
  await until(() => us.catalog.tag("team/slow", "latest") !== undefined, "us knows the tag");
  await until(() => us.fetches.includes(image.manifest.digest), "us fetches");
  const comparison = await compare(eu, "us");
  assert.equal(comparison.found, 0n, told(comparison).join("\n"));
  assert.ok(comparison.underWay > 0n);
  gate.resolve();
  await until(() => hasAll(us, image), "us has it");
});

test("what could not be fetched yet, and is tried again, is under way too", async () => {
  const [eu, us] = [cluster.site("eu"), cluster.site("us")];
  us.broken = true;
  const image = imageAt(eu, "resting", [80]);
  await push(eu, "team/resting", image);
  await until(() => us.replicator.status().wanted.resting >= 3, "us has failed to fetch it");
  const comparison = await compare(eu, "us");
  assert.deepEqual([told(comparison), comparison.underWay > 0n], [[], true]);
  us.broken = false;
  await until(() => hasAll(us, image), "us has it");
});

test("bytes of an upload that no manifest has named are no difference", async () => {
  const [eu, us] = [cluster.site("eu"), cluster.site("us")];
  const blob = eu.store("uploaded alone");
  await commit(eu, [
    { kind: "blob-at-node", ...blob, node: eu.node, state: "present" },
    { kind: "link", repository: "team/alone", ...blob },
  ]);
  await until(() => us.blobs.has(blob.digest), "us has fetched it");
  us.blobs.delete(blob.digest);
  assert.deepEqual(told(await compare(eu, "us")), []);
});

test("records that another member answered with are ahead of the logs, and no difference", async () => {
  const [eu, us] = [cluster.site("eu"), cluster.site("us")];
  const change: Change = { kind: "repository", repository: "team/ahead", who: "test" };
  await commit(eu, [change]);
  await until(() => us.catalog.hasRepository("team/ahead"), "us knows it");
  const [{ record } = {}] = await eu.catalog.comparable.read(["rr team/ahead"]);
  const put = record!.put!;
  const hlc = { ...put.hlc!, time: put.hlc!.time + 1n };
  await us.catalog.learn([{ ...record!, put: { ...put, hlc } }]);
  const comparison = await compare(eu, "us");
  assert.deepEqual([comparison.found, comparison.underWay], [0n, 1n]);
});

test("whatever either view has lost is found exactly, and put right", async () => {
  const [eu, us] = [cluster.site("eu"), cluster.site("us")];
  for (let index = 0; index < 8; index++) await pushed(index % 2 === 0 ? eu : us, `team/many${index}`, `many ${index}`);
  const random = seeded(20_261_130);
  const wanted = new Set<string>();
  for (const site of [eu, us]) {
    const keys = [...site.view.range({ start: "rl team/many", end: "rt team/many~" })].map(([key]) => key);
    for (const key of keys.filter((one) => !wanted.has(one) && random() < 0.2)) {
      wanted.add(key);
      await removeRows(site, key);
    }
  }
  assert.ok(wanted.size > 5);
  const found = await compare(us, "eu");
  assert.equal(Number(found.found), wanted.size);
  const names = found.differences.map(
    ({ kind, name }) => `r${kind[0]} ${name.replace(kind === "tag" ? ":" : "@", " ")}`,
  );
  assert.deepEqual(names.sort(), [...wanted].sort());
  const repaired = await compare(us, "eu", true);
  assert.equal(repaired.repaired, repaired.found);
  assert.equal((await compare(eu, "us")).found, 0n);
});

/** Numbers from 0 to 1 that look random, the same for the same seed. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

test("one comparison at a time, and only with another site", async () => {
  const comparer = cluster.site("eu").rpc().local(diffV1.ComparisonService)!;
  await assert.rejects(comparer.begin({ other: "nowhere" }), /no other site/);
  await assert.rejects(comparer.begin({ other: "eu" }), /no other site/);
  const { comparison } = await comparer.begin({ other: "us" });
  assert.equal(comparison?.finishedMs, 0n);
  await assert.rejects(comparer.begin({ other: "ap" }), /compares itself with us now/);
});
