import assert from "node:assert/strict";
import { test } from "node:test";
import type { Change } from "./catalog.ts";
import { attachmentSubject, collectableOf, type LoneLink } from "./collectable.ts";
import { createManualClock, digestFor, manifestOf, SimulatedSite } from "./simulated-site.ts";

const REPOSITORY = "app";

function site() {
  const sim = new SimulatedSite("eu", { clock: createManualClock() });
  return { sim, collectable: collectableOf(sim.view.store) };
}

const link = (name: string, repository = REPOSITORY): Change => {
  return { kind: "link", repository, digest: digestFor(name), size: 10 };
};
const manifest = (name: string, parts: Parameters<typeof manifestOf>[0] = {}): Change => {
  return { kind: "manifest", repository: REPOSITORY, digest: digestFor(name), value: manifestOf(parts) };
};
const tag = (name: string, of: string): Change => {
  return { kind: "tag", repository: REPOSITORY, tag: name, digest: digestFor(of), mediaType: "m", size: 1, who: "a" };
};
const remove = (name: string): Change => {
  return { kind: "delete-manifest", repository: REPOSITORY, digest: digestFor(name), who: "a" };
};
const attached = (subject: string, kind: string): string => `${digestFor(subject).replace(":", "-")}${kind}`;

test("a link is lone until a manifest needs it, and again afterwards; pages together show all", async () => {
  const { sim, collectable } = site();
  const names = ["a", "b", "c", "d", "e"];
  await sim.commit(names.map((name) => link(name)));
  await sim.commit([link("a", "other"), manifest("m", { layers: ["a", "b"] })]);
  const all = (): string[] => {
    const found: LoneLink[] = [];
    let from: string | undefined;
    do {
      const page = collectable.loneLinks({ ...(from !== undefined && { from }), rows: 2 });
      found.push(...page.items);
      from = page.next;
    } while (from !== undefined);
    assert.ok(found.every(({ size, site: of }) => size === 10 && of === "eu"));
    return found.map(({ repository, digest }) => `${repository} ${digest}`).sort();
  };
  const lone = (...shown: string[]): string[] => shown.map((name) => `${REPOSITORY} ${digestFor(name)}`);
  assert.deepEqual(all(), [...lone("c", "d", "e"), `other ${digestFor("a")}`].sort());
  await sim.commit([remove("m")]);
  assert.deepEqual(all(), [...lone("a", "b", "c", "d", "e"), `other ${digestFor("a")}`].sort());
});

test("a layer that a sparse manifest was pushed without is needed once it has come", async () => {
  const { sim, collectable } = site();
  const value = manifestOf({ layers: ["late"] });
  value.references[0]!.absent = true;
  await sim.commit([{ kind: "manifest", repository: REPOSITORY, digest: digestFor("m"), value }]);
  await sim.commit([link("late")]);
  assert.equal(collectable.isLone(REPOSITORY, digestFor("late")), false);
  await sim.commit([remove("m")]);
  assert.equal(collectable.isLone(REPOSITORY, digestFor("late")), true);
});

test("collecting a link leaves out what is needed by then", async () => {
  const { sim } = site();
  await sim.commit([link("a"), link("b"), manifest("m", { layers: ["a"] })]);
  const collect = (name: string): Change => ({ kind: "collect-link", repository: REPOSITORY, digest: digestFor(name) });
  assert.equal((await sim.commit([collect("a"), collect("b"), collect("never")])).length, 1);
  assert.equal(sim.reader.blob(REPOSITORY, digestFor("b")), undefined);
  assert.notEqual(sim.reader.blob(REPOSITORY, digestFor("a")), undefined);
});

test("what is attached to a manifest is an orphan once that was deleted, not while it never came", async () => {
  const { sim, collectable } = site();
  const orphans = (): string[] =>
    [...collectable.orphanReferrers({ rows: 100 }).items, ...collectable.orphanAttachments(REPOSITORY)]
      .map(({ digest, tag: by }) => `${by ?? "referrer"} ${digest}`)
      .sort();
  await sim.commit([manifest("image", { layers: ["l"] }), manifest("sbom", { subject: "image" })]);
  await sim.commit([manifest("signature"), tag(attached("image", ".sig"), "signature")]);
  await sim.commit([manifest("early", { subject: "to come" }), manifest("x"), tag(attached("to come", ".att"), "x")]);
  await sim.commit([manifest("kept", { subject: "image" }), tag("release", "kept")]);
  assert.deepEqual(orphans(), []);
  await sim.commit([remove("image")]);
  const tagged = `${attached("image", ".sig")} ${digestFor("signature")}`;
  assert.deepEqual(orphans(), [`referrer ${digestFor("sbom")}`, tagged].sort());
  await sim.commit([manifest("image", { layers: ["l"] })]);
  assert.deepEqual(orphans(), []);
});

test("tags that attach something name their subject", () => {
  const hex = digestFor("a").slice("sha256:".length);
  for (const kind of ["", ".sig", ".att", ".sbom"])
    assert.equal(attachmentSubject(`sha256-${hex}${kind}`), digestFor("a"));
  for (const other of ["latest", `sha256-${hex}.other`, `sha256-${hex.slice(1)}`, `sha256-${hex}.sig.x`])
    assert.equal(attachmentSubject(other), undefined);
});

test("manifests whose references nobody knows are told, until their record or their bytes come, or they go", async () => {
  const { sim, collectable } = site();
  const unread = (): string[] => collectable.unread({ n: 10 }).map(({ digest }) => digest);
  await sim.commit([tag("v1", "m"), tag("v2", "large")]);
  assert.deepEqual(unread().sort(), [digestFor("m"), digestFor("large")].sort());
  await sim.commit([manifest("m", { layers: ["l"] })]);
  assert.deepEqual(unread(), [digestFor("large")]);
  assert.deepEqual(collectable.unread({ repository: "other", n: 10 }), []);
  const layers = Array.from({ length: 1_500 }, (_, index) => `layer ${index}`);
  await sim.commit([manifest("large", { layers })]);
  assert.deepEqual(unread(), [digestFor("large")], "its record cannot hold them");
  await sim.commit([remove("large")]);
  assert.deepEqual(unread(), []);
});
