import assert from "node:assert/strict";
import { test } from "node:test";
import { toBinary } from "@bufbuild/protobuf";
import { recordV1 } from "@meridian/wire";
import type { Change } from "./catalog.ts";
import { createManualClock, digestFor, manifestOf, SimulatedSite, settle } from "./simulated-site.ts";
import { openTestSite } from "./test-site.ts";

const REPOSITORY = "app";

function sites(): [SimulatedSite, SimulatedSite] {
  const clock = createManualClock();
  return [new SimulatedSite("eu", { clock }), new SimulatedSite("us", { clock })];
}

/** A manifest that was pushed without what `absent` names. */
function without(absent: readonly string[], parts: Parameters<typeof manifestOf>[0]): recordV1.ManifestValue {
  const value = manifestOf(parts);
  const names = new Set(absent.map((name) => digestFor(name).slice("sha256:".length)));
  for (const reference of value.references) {
    reference.absent = names.has(Buffer.from(reference.digest?.hash ?? []).toString("hex"));
  }
  return value;
}

const manifest = (name: string, value: recordV1.ManifestValue): Change => {
  return { kind: "manifest", repository: REPOSITORY, digest: digestFor(name), value };
};
const link = (name: string): Change => ({ kind: "link", repository: REPOSITORY, digest: digestFor(name), size: 10 });
const links = (site: SimulatedSite, name: string): boolean =>
  site.reader.blob(REPOSITORY, digestFor(name)) !== undefined;
const shows = (site: SimulatedSite, name: string): boolean =>
  site.reader.manifest(REPOSITORY, digestFor(name)) !== undefined;

test("what a manifest was pushed without stays invisible at every site; the rest is visible", async () => {
  const [eu, us] = sites();
  await eu.commit([manifest("m", without(["gone"], { layers: ["here", "gone"] }))]);
  await settle([eu, us]);
  for (const site of [eu, us]) {
    assert.deepEqual([shows(site, "m"), links(site, "here"), links(site, "gone")], [true, true, false]);
    const { blobs, absent, complete } = site.reader.contents(REPOSITORY, digestFor("m"));
    assert.deepEqual(
      blobs.map(({ digest }) => digest),
      [digestFor("m"), digestFor("here")],
    );
    assert.deepEqual(absent, [digestFor("gone")]);
    assert.equal(complete, true);
    assert.deepEqual(site.reader.recordsFor(REPOSITORY, digestFor("gone")), []);
  }
});

test("an absent child that is pushed later belongs to the index, and is kept by it", async () => {
  const [eu, us] = sites();
  await eu.commit([manifest("index", without(["child"], { children: ["child"] }))]);
  await us.commit([manifest("child", manifestOf({ layers: ["l"] }))]);
  await settle([eu, us]);
  for (const site of [eu, us]) {
    assert.deepEqual([shows(site, "child"), links(site, "l")], [true, true]);
    const { blobs, absent } = site.reader.contents(REPOSITORY, digestFor("index"));
    assert.equal(blobs.length, 3);
    assert.deepEqual(absent, []);
    assert.deepEqual(site.reader.referencedBy(REPOSITORY, digestFor("child")), [digestFor("index")]);
    assert.equal(site.reader.manifest(REPOSITORY, digestFor("child"))?.site, "us");
    const deletion: Change = { kind: "delete-manifest", repository: REPOSITORY, digest: digestFor("child"), who: "w" };
    await assert.rejects(site.commit([deletion]), { kind: "denied" });
  }
});

test("an absent blob that is uploaded later is kept by the manifest until that is gone", async () => {
  const [eu] = sites();
  await eu.commit([manifest("m", without(["l"], { layers: ["l"] })), link("l")]);
  const deletion: Change = { kind: "delete-link", repository: REPOSITORY, digest: digestFor("l") };
  await assert.rejects(eu.commit([deletion]), { kind: "denied" });
  await eu.commit([{ kind: "delete-manifest", repository: REPOSITORY, digest: digestFor("m"), who: "w" }]);
  assert.equal(links(eu, "l"), true);
  await eu.commit([deletion]);
  assert.equal(links(eu, "l"), false);
});

test("the same manifest pushed again with all its parts shows them", async () => {
  const [eu, us] = sites();
  await eu.commit([manifest("m", without(["l"], { layers: ["l"] }))]);
  await us.tail(eu);
  await us.commit([manifest("m", manifestOf({ layers: ["l"] }))]);
  await settle([eu, us]);
  for (const site of [eu, us]) {
    assert.equal(links(site, "l"), true);
    assert.deepEqual(site.reader.contents(REPOSITORY, digestFor("m")).absent, []);
  }
});

test("of a sparse manifest too large for a record nothing becomes visible, though its bytes were read", async () => {
  const [eu] = sites();
  const layers = Array.from({ length: 1_000 }, (_, index) => `l${index}`);
  const bytes = toBinary(recordV1.ManifestValueSchema, manifestOf({ layers }));
  await eu.commit([manifest("m", without(["l7"], { layers })), link("l8")]);
  await eu.view.change((update) => update.learnManifest(REPOSITORY, digestFor("m"), bytes, "eu"));
  assert.deepEqual([links(eu, "l7"), links(eu, "l8"), links(eu, "l9")], [false, true, false]);
  assert.equal(eu.reader.contents(REPOSITORY, digestFor("m")).absent.length, 999);
});

test("in a sparse registry a manifest's bytes show nothing before its record came", async () => {
  await using site = await openTestSite();
  for (const sparse of [true, false]) {
    await using catalog = await site.open({ sparse, writer: `w-${sparse}` });
    const value = manifestOf({ layers: ["l"] });
    const digest = digestFor(`m-${sparse}`);
    await catalog.commit([
      { kind: "tag", repository: REPOSITORY, tag: `t-${sparse}`, digest, mediaType: "m", size: 100, who: "w" },
    ]);
    await catalog.learnManifest(REPOSITORY, digest, value);
    assert.equal(catalog.blob(REPOSITORY, digestFor("l")) === undefined, sparse);
    await catalog.commit([{ kind: "manifest", repository: REPOSITORY, digest, value }]);
    assert.notEqual(catalog.blob(REPOSITORY, digestFor("l")), undefined);
  }
});

test("the repositories that link a digest, in ASCII order, as long as they do", async () => {
  const [eu] = sites();
  const linkIn = (repository: string): Change => ({ kind: "link", repository, digest: digestFor("l"), size: 10 });
  await eu.commit(["b", "a/x", "c"].map(linkIn));
  await eu.commit([
    { kind: "manifest", repository: "d", digest: digestFor("m"), value: manifestOf({ layers: ["l"] }) },
  ]);
  assert.deepEqual(eu.reader.repositoriesOf(digestFor("l"), 10), ["a/x", "b", "c", "d"]);
  assert.deepEqual(eu.reader.repositoriesOf(digestFor("l"), 2), ["a/x", "b"]);
  await eu.commit([{ kind: "delete-link", repository: "b", digest: digestFor("l") }]);
  await eu.commit([{ kind: "delete-manifest", repository: "d", digest: digestFor("m"), who: "w" }]);
  assert.deepEqual(eu.reader.repositoriesOf(digestFor("l"), 10), ["a/x", "c"]);
});
