import assert from "node:assert/strict";
import { test } from "node:test";
import type { Change } from "./catalog.ts";
import { ReadCache } from "./read-cache.ts";
import { createManualClock, digestFor, manifestOf, SimulatedSite } from "./simulated-site.ts";

const make = (): SimulatedSite => new SimulatedSite("eu", { clock: createManualClock() });
const tag = (repository: string, name: string, manifest = "m"): Change => {
  return { kind: "tag", repository, tag: name, digest: digestFor(manifest), mediaType: "m", size: 1, who: "w" };
};

test("pages of tags and repositories: in ASCII order, from after the last one", async () => {
  const site = make();
  for (const name of ["b", "B", "a.1", "a-1", "a", "_x", "a1"]) await site.commit([tag("r", name)]);
  for (const repository of ["r/sub", "r-2", "q"]) await site.commit([tag(repository, "x")]);
  const { reader } = site;
  const all = ["B", "_x", "a", "a-1", "a.1", "a1", "b"];
  assert.deepEqual(reader.tags("r", {}), { items: all });
  assert.deepEqual(reader.tags("r", { n: 3 }), { items: ["B", "_x", "a"], next: "a" });
  assert.deepEqual(reader.tags("r", { n: 3, last: "a" }), { items: ["a-1", "a.1", "a1"], next: "a1" });
  assert.deepEqual(reader.tags("r", { n: 3, last: "a1" }), { items: ["b"] });
  assert.deepEqual(reader.tags("r", { n: 7 }), { items: all });
  assert.deepEqual(reader.tags("r", { n: 0 }).items, []);
  assert.deepEqual(reader.tags("nothing", {}), { items: [] });
  assert.deepEqual(reader.repositories({ n: 2, last: "q" }), { items: ["r", "r-2"], next: "r-2" });
});

test("what names a digest, and the contents of an index, are told level by level", async () => {
  const site = make();
  const manifest = (name: string, parts: Parameters<typeof manifestOf>[0]): Change => {
    return { kind: "manifest", repository: "r", digest: digestFor(name), value: manifestOf(parts) };
  };
  await site.commit([
    manifest("a", { layers: ["l1", "l2", "l1"] }),
    manifest("b", { layers: ["l1"] }),
    manifest("index", { children: ["a", "b"] }),
    tag("r", "v1", "index"),
    tag("r", "v2", "index"),
  ]);
  const { reader } = site;
  const { blobs, complete } = reader.contents("r", digestFor("index"));
  assert.equal(complete, true);
  assert.deepEqual(
    blobs.map(({ digest, manifest: is }) => [digest, is]),
    [
      ["index", true],
      ["a", true],
      ["b", true],
      ["l1", false],
      ["l2", false],
    ].map(([name, is]) => [digestFor(String(name)), is]),
  );
  assert.deepEqual(reader.tagsOf("r", digestFor("index")), ["v1", "v2"]);
  assert.deepEqual(reader.referencedBy("r", digestFor("l2")), [digestFor("a")]);
  assert.equal(reader.referencedBy("r", digestFor("l1")).length, 2);
  const kinds = reader.recordsFor("r", digestFor("l2")).map(({ key }) => key?.kind.case);
  assert.deepEqual(kinds, ["manifest", "manifest", "tag", "tag"]);
  assert.deepEqual(reader.recordsFor("r", digestFor("nothing")), []);
});

test("records for a digest make it visible where nothing of it was known", async () => {
  const [eu, us] = [make(), new SimulatedSite("us", { clock: createManualClock() })];
  const value = manifestOf({ layers: ["l1"] });
  await eu.commit([{ kind: "manifest", repository: "r", digest: digestFor("m"), value }, tag("r", "latest")]);
  await eu.commit([{ kind: "blob-at-node", digest: digestFor("l1"), node: "eu/n1", size: 10, state: "present" }]);
  await us.view.learn(eu.reader.recordsFor("r", digestFor("l1")));
  assert.equal(us.reader.blob("r", digestFor("l1"))?.site, "eu");
  assert.equal(us.reader.tag("r", "latest")?.digest, digestFor("m"));
  assert.deepEqual(us.reader.holders(digestFor("l1")), ["eu/n1"]);
});

test("a draining node is no holder", async () => {
  const site = make();
  const at = (state: "present" | "draining" | "absent"): Change => {
    return { kind: "blob-at-node", digest: digestFor("l"), node: "eu/n1", size: 1, state };
  };
  await site.commit([at("present")]);
  assert.deepEqual(site.reader.holders(digestFor("l")), ["eu/n1"]);
  assert.equal((await site.commit([at("present")])).length, 0, "said again what was said");
  await site.commit([at("draining")]);
  assert.deepEqual(site.reader.holders(digestFor("l")), []);
  await site.commit([at("absent")]);
  await site.commit([at("present")]);
  assert.deepEqual(site.reader.holders(digestFor("l")), ["eu/n1"]);
});

test("the cache keeps what is read again, forgets what it is told to, and stays small", () => {
  const cache = new ReadCache<string | undefined>(2);
  const reads: string[] = [];
  const read = (key: string): string | undefined => {
    reads.push(key);
    return key === "none" ? undefined : key;
  };
  const get = (key: string): string | undefined => cache.get(key, () => read(key));
  for (const key of ["a", "none", "none", "a", "b", "a", "c", "d", "a"]) get(key);
  assert.deepEqual(reads, ["a", "none", "b", "c", "d"]);
  get("none");
  assert.equal(reads.at(-1), "none");
  cache.delete("a");
  get("a");
  assert.equal(reads.at(-1), "a");
});
