import assert from "node:assert/strict";
import { test } from "node:test";
import { toBinary } from "@bufbuild/protobuf";
import { recordV1 } from "@meridian/wire";
import type { Change } from "./catalog.ts";
import { createManualClock, digestFor, manifestOf, SimulatedSite, settle } from "./simulated-site.ts";

const REPOSITORY = "app";

function sites(skews: readonly number[] = [0, 0, 0]): [SimulatedSite, SimulatedSite, SimulatedSite] {
  const clock = createManualClock();
  const make = (name: string, skewMs: number | undefined) => new SimulatedSite(name, { clock, skewMs });
  return [make("eu", skews[0]), make("us", skews[1]), make("ap", skews[2])];
}

const tag = (name: string, manifest: string): Change => {
  const digest = digestFor(manifest);
  return { kind: "tag", repository: REPOSITORY, tag: name, digest, mediaType: "m", size: 100, who: "alice" };
};
const manifest = (name: string, parts: Parameters<typeof manifestOf>[0] = {}): Change => {
  return { kind: "manifest", repository: REPOSITORY, digest: digestFor(name), value: manifestOf(parts) };
};
const deleteManifest = (name: string): Change => {
  return { kind: "delete-manifest", repository: REPOSITORY, digest: digestFor(name), who: "alice" };
};
const deleteTag = (name: string): Change => ({ kind: "delete-tag", repository: REPOSITORY, tag: name, who: "alice" });
const shows = (site: SimulatedSite, name: string): boolean =>
  site.reader.manifest(REPOSITORY, digestFor(name)) !== undefined;
const links = (site: SimulatedSite, name: string): boolean =>
  site.reader.blob(REPOSITORY, digestFor(name)) !== undefined;
const tagged = (site: SimulatedSite, name: string): string | undefined => site.reader.tag(REPOSITORY, name)?.digest;

test("tag before manifest: whole as soon as it arrives, its layers when the manifest does", async () => {
  const [eu, us] = sites();
  await eu.commit([tag("latest", "m")]);
  await us.tail(eu);
  assert.equal(shows(us, "m"), true);
  assert.equal(links(us, "m"), true);
  assert.equal(us.reader.manifest(REPOSITORY, digestFor("m"))?.value, undefined);
  assert.equal(us.reader.contents(REPOSITORY, digestFor("m")).complete, false);
  await eu.commit([manifest("m", { layers: ["l"] })]);
  await us.tail(eu);
  assert.equal(links(us, "l"), true);
  assert.equal(us.reader.contents(REPOSITORY, digestFor("m")).complete, true);
});

test("link from another origin: a layer is linked by the manifest, whoever uploaded it", async () => {
  const [eu, us, ap] = sites();
  await us.commit([{ kind: "link", repository: REPOSITORY, digest: digestFor("l"), size: 10 }]);
  await eu.commit([manifest("m", { layers: ["l"] }), tag("latest", "m")]);
  await ap.tail(eu);
  assert.equal(links(ap, "l"), true);
  await ap.tail(us);
  assert.equal(ap.reader.blob(REPOSITORY, digestFor("l"))?.site, "us");
});

test("delete by digest racing a second tag: the tag that the deleter had not seen keeps its manifest and layers", async () => {
  const [eu, us] = sites();
  await eu.commit([manifest("m", { layers: ["l"] }), tag("a", "m")]);
  await us.tail(eu);
  await us.commit([tag("b", "m")]);
  await eu.commit([deleteManifest("m")]);
  assert.equal(shows(eu, "m"), false);
  assert.equal(links(eu, "l"), false);
  await settle([eu, us]);
  for (const site of [eu, us]) {
    assert.equal(tagged(site, "a"), undefined);
    assert.equal(tagged(site, "b"), digestFor("m"));
    assert.equal(shows(site, "m"), true);
    assert.equal(links(site, "l"), true);
  }
});

test("delete of an index child is denied while the index is visible, and works after it", async () => {
  const [eu] = sites();
  await eu.commit([
    manifest("child", { layers: ["l"] }),
    manifest("index", { children: ["child"] }),
    tag("latest", "index"),
  ]);
  assert.deepEqual(eu.reader.referencedBy(REPOSITORY, digestFor("child")), [digestFor("index")]);
  await assert.rejects(eu.commit([deleteManifest("child")]), { kind: "denied" });
  const deleteLayer: Change = { kind: "delete-link", repository: REPOSITORY, digest: digestFor("l") };
  await assert.rejects(eu.commit([deleteLayer]), { kind: "denied" });
  await eu.commit([deleteManifest("index")]);
  assert.equal(shows(eu, "child"), true);
  await eu.commit([deleteManifest("child")]);
  assert.equal(links(eu, "l"), false);
});

test("delete of an index child elsewhere, before the index was seen: the index keeps it visible", async () => {
  const [eu, us] = sites();
  await eu.commit([manifest("child", { layers: ["l"] })]);
  await us.tail(eu);
  await eu.commit([manifest("index", { children: ["child"] }), tag("latest", "index")]);
  await us.commit([deleteManifest("child")]);
  await settle([eu, us]);
  for (const site of [eu, us]) {
    assert.equal(shows(site, "child"), true);
    assert.equal(links(site, "l"), true);
  }
});

test("two deleters who saw different puts: each put that one of them saw is dead, and nothing else", async () => {
  const [eu, us, ap] = sites([0, 5, 0]);
  await eu.commit([tag("t", "m1")]);
  await us.commit([tag("t", "m2")]);
  await ap.tail(eu);
  await ap.commit([deleteTag("t")]);
  await us.commit([deleteTag("t")]);
  await settle([eu, us, ap]);
  await settle([eu, us, ap]);
  for (const site of [eu, us, ap]) assert.equal(tagged(site, "t"), undefined);
});

test("two deleters, a third put that neither saw: it lives, although its clock is behind", async () => {
  const [eu, us, ap] = sites([10, 20, 0]);
  await eu.commit([tag("t", "m1")]);
  await us.tail(eu);
  await us.commit([deleteTag("t")]);
  await eu.commit([deleteTag("t")]);
  await ap.tail(us);
  await ap.commit([tag("t", "m3")]);
  await settle([eu, us, ap]);
  for (const site of [eu, us, ap]) assert.equal(tagged(site, "t"), digestFor("m3"));
});

test("a site pushes again while another deletes its first push: the second push lives", async () => {
  const [eu, us] = sites();
  await eu.commit([tag("t", "m1")]);
  await us.tail(eu);
  await eu.commit([tag("t", "m2")]);
  await us.commit([deleteTag("t")]);
  await settle([eu, us]);
  for (const site of [eu, us]) assert.equal(tagged(site, "t"), digestFor("m2"));
});

test("an old put republished after compaction stays deleted", async () => {
  const [eu, us, ap] = sites();
  await eu.commit([tag("t", "m1")]);
  await us.tail(eu);
  await eu.commit([deleteTag("t")]);
  const old = us.reader.recordsFor(REPOSITORY, digestFor("m1"))[0];
  assert.ok(old !== undefined);
  await us.publish(old);
  await ap.tail(us);
  assert.equal(tagged(ap, "t"), digestFor("m1"));
  await ap.tail(eu);
  assert.equal(tagged(ap, "t"), undefined);
  await settle([eu, us, ap]);
  for (const site of [eu, us, ap]) assert.equal(tagged(site, "t"), undefined);
});

test("repository delete beside an unseen push: the push survives, the rest is gone", async () => {
  const [eu, us] = sites();
  await eu.commit([manifest("m1", { layers: ["l1"] }), tag("a", "m1"), manifest("m2"), tag("b", "m2")]);
  await us.tail(eu);
  await us.commit([manifest("m3", { layers: ["l1"] }), tag("b", "m3")]);
  for (const name of eu.reader.tags(REPOSITORY, {}).items) await eu.commit([deleteTag(name)]);
  for (const name of ["m1", "m2"]) await eu.commit([deleteManifest(name)]);
  assert.equal(eu.reader.hasRepository(REPOSITORY), false);
  assert.deepEqual(eu.reader.repositories({}).items, []);
  await settle([eu, us]);
  for (const site of [eu, us]) {
    assert.deepEqual(site.reader.tags(REPOSITORY, {}).items, ["b"]);
    assert.equal(tagged(site, "b"), digestFor("m3"));
    assert.deepEqual([shows(site, "m1"), shows(site, "m2"), shows(site, "m3")], [false, false, true]);
    assert.equal(links(site, "l1"), true);
  }
});

test("a signature whose subject was deleted stays, and makes nothing visible", async () => {
  const [eu, us] = sites();
  await eu.commit([manifest("m", { layers: ["l"] }), tag("latest", "m")]);
  await eu.commit([manifest("signature", { layers: ["s"], subject: "m" })]);
  await us.tail(eu);
  await us.commit([deleteManifest("m")]);
  await settle([eu, us]);
  for (const site of [eu, us]) {
    assert.equal(shows(site, "m"), false);
    assert.equal(links(site, "l"), false);
    assert.equal(shows(site, "signature"), true);
    const referrers = site.reader.referrers(REPOSITORY, digestFor("m"));
    assert.deepEqual(
      referrers.map(({ digest, artifactType }) => [digest, artifactType]),
      [[digestFor("signature"), "application/vnd.example.signature"]],
    );
  }
  await eu.commit([deleteManifest("signature")]);
  assert.deepEqual(eu.reader.referrers(REPOSITORY, digestFor("m")), []);
});

test("two sites write one tag without seeing each other: the later wins everywhere, and each is told of it once", async () => {
  const [eu, us] = sites([0, 4, 0]);
  await eu.commit([tag("t", "m1")]);
  await us.commit([tag("t", "m2")]);
  await settle([eu, us]);
  for (const site of [eu, us]) {
    assert.equal(tagged(site, "t"), digestFor("m2"));
    const told = site.conflicts.map(({ winner, loser }) => [winner.site, winner.digest, loser.site, loser.digest]);
    assert.deepEqual(told, [["us", digestFor("m2"), "eu", digestFor("m1")]], site.name);
  }
  await eu.commit([tag("t", "m3")]);
  await settle([eu, us]);
  assert.equal(tagged(us, "t"), digestFor("m3"));
  assert.equal(us.conflicts.length, 1);
});

test("a manifest too large for a record is known from its bytes", async () => {
  const [eu] = sites();
  const layers = Array.from({ length: 1_000 }, (_, index) => `l${index}`);
  await eu.commit([manifest("m", { layers }), tag("latest", "m")]);
  assert.equal(eu.reader.manifest(REPOSITORY, digestFor("m"))?.value?.seeBytes, true);
  assert.equal(links(eu, "l999"), false);
  assert.equal(eu.reader.contents(REPOSITORY, digestFor("m")).complete, false);
  const bytes = toBinary(recordV1.ManifestValueSchema, manifestOf({ layers }));
  await eu.view.change((update) => update.learnManifest(REPOSITORY, digestFor("m"), bytes, "eu"));
  assert.equal(links(eu, "l999"), true);
  assert.equal(eu.reader.contents(REPOSITORY, digestFor("m")).blobs.length, 1_001);
  await eu.commit([deleteManifest("m")]);
  assert.equal(links(eu, "l999"), false);
});

test("indexes in indexes, thousands deep, come and go with their tag", async () => {
  const [eu] = sites();
  const depth = 5_000;
  await eu.view.change((update) => {
    for (let level = 0; level <= depth; level++) {
      const value = level === 0 ? manifestOf({ layers: ["l"] }) : manifestOf({ children: [`index${level - 1}`] });
      const bytes = toBinary(recordV1.ManifestValueSchema, value);
      update.learnManifest(REPOSITORY, digestFor(`index${level}`), bytes, "eu");
    }
  });
  assert.equal(links(eu, "l"), false);
  await eu.commit([tag("latest", `index${depth}`)]);
  assert.equal(links(eu, "l"), true);
  await eu.commit([deleteTag("latest")]);
  assert.equal(links(eu, "l"), false);
});
