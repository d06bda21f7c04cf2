import assert from "node:assert/strict";
import { test } from "node:test";
import type { Digest } from "@meridian/oci";
import { recordV1 } from "@meridian/wire";
import fc from "fast-check";
import type { Change } from "./catalog.ts";
import { viewKeyOf } from "./commit-plan.ts";
import { findRecord } from "./lookups.ts";
import { isAlive } from "./merge.ts";
import { createManualClock, digestFor, manifestOf, SimulatedSite, settle } from "./simulated-site.ts";

const REPOSITORY = "app";
/** Images 0–2 share a layer; index 3 has 0 and 1 as children; index 4 has 3, and 2 as a blob; image 5 signs 0. */
const MANIFESTS = [
  manifestOf({ layers: ["shared", "own0"] }),
  manifestOf({ layers: ["shared", "own1"] }),
  manifestOf({ layers: ["shared"] }),
  manifestOf({ children: ["manifest0", "manifest1"] }),
  manifestOf({ children: ["manifest3"], layers: ["shared", "manifest2"] }),
  manifestOf({ layers: ["signature"], subject: "manifest0" }),
];
const SITES = ["eu", "us", "ap"] as const;

const digest = (manifest: number) => digestFor(`manifest${manifest}`);
const siteIndex = fc.nat({ max: SITES.length - 1 });
const manifestIndex = fc.nat({ max: MANIFESTS.length - 1 });
const tagName = fc.constantFrom("a", "b", "c");

type Step =
  | { do: "push"; site: number; tag: string | undefined; manifest: number; register: boolean }
  | { do: "delete-tag"; site: number; tag: string }
  | { do: "delete-manifest"; site: number; manifest: number }
  | { do: "node"; site: number; state: "present" | "draining" | "absent" }
  | { do: "republish"; site: number; index: number }
  | { do: "tail"; site: number; other: number; count: number; again: boolean }
  | { do: "wait"; ms: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("push" as const),
      site: siteIndex,
      tag: fc.option(tagName, { nil: undefined }),
      manifest: manifestIndex,
      register: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("delete-tag" as const), site: siteIndex, tag: tagName }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant("delete-manifest" as const), site: siteIndex, manifest: manifestIndex }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      do: fc.constant("node" as const),
      site: siteIndex,
      state: fc.constantFrom("present" as const, "draining" as const, "absent" as const),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ do: fc.constant("republish" as const), site: siteIndex, index: fc.nat({ max: 20 }) }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant("tail" as const),
      site: siteIndex,
      other: siteIndex,
      count: fc.integer({ min: 1, max: 6 }),
      again: fc.boolean(),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("wait" as const), ms: fc.integer({ min: 0, max: 3 }) }) },
);

/** What was put and what a delete had seen, by key and reading. */
interface Seen {
  readonly puts: Map<string, { key: string; hlc: string }>;
  readonly deleted: Set<string>;
}

const reading = (hlc: recordV1.Hlc | undefined): string => `${hlc?.time}/${hlc?.site}/${hlc?.writer}`;

async function commit(site: SimulatedSite, changes: readonly Change[], seen: Seen): Promise<void> {
  const before = new Map<string, recordV1.Record | undefined>();
  for (const [key] of site.view.store.range({ start: "r", end: "s" })) {
    before.set(key, findRecord(site.view.store, key)?.record);
  }
  for (const record of await site.commit(changes)) {
    const key = viewKeyOf(record.key!);
    const old = before.get(key)?.put?.hlc;
    if (record.put?.hlc !== undefined && reading(record.put.hlc) !== reading(old)) {
      seen.puts.set(`${key} ${reading(record.put.hlc)}`, { key, hlc: reading(record.put.hlc) });
    } else if (old !== undefined) {
      seen.deleted.add(`${key} ${reading(old)}`);
    }
  }
}

async function run(sites: readonly SimulatedSite[], steps: readonly Step[], seen: Seen, wait: (ms: number) => void) {
  for (const next of steps) {
    if (next.do === "wait") {
      wait(next.ms);
      continue;
    }
    const site = sites[next.site]!;
    switch (next.do) {
      case "push": {
        const manifest = digest(next.manifest);
        const value = MANIFESTS[next.manifest]!;
        const changes: Change[] = next.register
          ? [{ kind: "manifest", repository: REPOSITORY, digest: manifest, value }]
          : [];
        changes.push({ kind: "link", repository: REPOSITORY, digest: digestFor("shared"), size: 10 });
        if (next.tag !== undefined) {
          changes.push({
            kind: "tag",
            repository: REPOSITORY,
            tag: next.tag,
            digest: manifest,
            mediaType: "m",
            size: 100,
            who: "w",
          });
        }
        await commit(site, changes, seen);
        break;
      }
      case "delete-tag":
        if (site.reader.tag(REPOSITORY, next.tag) !== undefined) {
          await commit(site, [{ kind: "delete-tag", repository: REPOSITORY, tag: next.tag, who: "w" }], seen);
          assert.equal(site.reader.tag(REPOSITORY, next.tag), undefined, "a deleted tag is still shown");
        }
        break;
      case "delete-manifest": {
        const manifest = digest(next.manifest);
        if (site.reader.manifest(REPOSITORY, manifest) !== undefined && !isIndexed(site, manifest)) {
          await commit(site, [{ kind: "delete-manifest", repository: REPOSITORY, digest: manifest, who: "w" }], seen);
          assert.equal(site.reader.manifest(REPOSITORY, manifest), undefined, "a deleted manifest is still shown");
        }
        break;
      }
      case "node":
        await commit(
          site,
          [{ kind: "blob-at-node", digest: digestFor("shared"), node: `${site.name}/n`, size: 10, state: next.state }],
          seen,
        );
        break;
      case "republish":
        await site.republish(next.index);
        break;
      case "tail":
        if (next.other !== next.site) {
          await site.tail(sites[next.other]!, { count: next.count, again: next.again });
        }
    }
  }
}

function isIndexed(site: SimulatedSite, manifest: Digest): boolean {
  const indexes = site.reader.referencedBy(REPOSITORY, manifest).map((index) => [digest(3), digest(4)].indexOf(index));
  return manifest !== digest(2) && indexes.some((index) => index >= 0);
}

/** Visibility worked out from nothing but the registers. */
function expectedView(site: SimulatedSite): { manifests: Set<string>; links: Set<string>; referrers: Set<string> } {
  const live = (key: string) => findRecord(site.view.store, key)?.live === true;
  const manifests = new Set<string>();
  const links = new Set<string>();
  const referrers = new Set<string>();
  const visit = (manifest: string): void => {
    if (manifests.has(manifest)) return;
    manifests.add(manifest);
    links.add(manifest);
    const put = findRecord(site.view.store, `rm ${REPOSITORY} ${manifest}`)?.record.put;
    if (put?.value.case !== "manifest") return;
    for (const reference of put.value.value.references) {
      const target = `sha256:${Buffer.from(reference.digest!.hash).toString("hex")}`;
      links.add(target);
      if (reference.role === recordV1.ReferenceRole.CHILD) visit(target);
    }
    if (put.value.value.subject !== undefined) referrers.add(manifest);
  };
  for (const index of MANIFESTS.keys()) {
    if (live(`rm ${REPOSITORY} ${digest(index)}`)) visit(digest(index));
  }
  for (const [key] of site.view.store.range({ start: "rt ", end: "rt!" })) {
    const { record } = findRecord(site.view.store, key)!;
    if (isAlive(record) && record.put.value.case === "tag") {
      visit(`sha256:${Buffer.from(record.put.value.value.digest!.hash).toString("hex")}`);
    }
  }
  if (live(`rl ${REPOSITORY} ${digestFor("shared")}`)) links.add(digestFor("shared"));
  return { manifests, links, referrers };
}

function assertVisible(site: SimulatedSite): void {
  const expected = expectedView(site);
  for (const index of MANIFESTS.keys()) {
    const shown = site.reader.manifest(REPOSITORY, digest(index)) !== undefined;
    assert.equal(shown, expected.manifests.has(digest(index)), `manifest ${index}`);
  }
  for (const name of ["shared", "own0", "own1", "signature", ...MANIFESTS.keys().map((index) => `manifest${index}`)]) {
    const shown = site.reader.blob(REPOSITORY, digestFor(name)) !== undefined;
    assert.equal(shown, expected.links.has(digestFor(name)), `link of ${name}`);
  }
  const referrers = site.reader.referrers(REPOSITORY, digest(0)).map((referrer) => referrer.digest as string);
  assert.deepEqual(referrers, [...expected.referrers]);
  const counted = [...site.view.store.range({ start: "r", end: "s" })].filter(
    ([key]) => !key.startsWith("rb ") && findRecord(site.view.store, key)?.live,
  ).length;
  assert.equal(site.reader.hasRepository(REPOSITORY), counted > 0);
}

test("any order, duplication, compaction and replay of any records gives the same view, and deletes hold exactly what they saw", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 8, maxLength: 45, size: "max" }),
      fc.tuple(...SITES.map(() => fc.constantFrom(0, 0, 3, -3, 8))),
      async (steps, skews) => {
        const clock = createManualClock();
        const sites = SITES.map((name, index) => new SimulatedSite(name, { clock, skewMs: skews[index] }));
        const seen: Seen = { puts: new Map(), deleted: new Set() };
        await run(sites, steps, seen, (ms) => clock.advance(ms));
        for (const site of sites) assertVisible(site);
        await settle(sites);
        await settle(sites);
        const rows = sites[0]!.rows();
        for (const site of sites) {
          assert.deepEqual(site.rows(), rows, "views differ");
          assertVisible(site);
        }
        const backwards = await sites[0]!.rebuilt([...sites].reverse(), clock);
        assert.deepEqual(backwards.rows(), rows, "a view rebuilt from what the logs hold differs");
        for (const [id, { key, hlc }] of seen.puts) {
          const record = findRecord(sites[0]!.view.store, key)?.record;
          if (reading(record?.put?.hlc) === hlc) {
            assert.equal(
              isAlive(record),
              !seen.deleted.has(id),
              `${id} was${seen.deleted.has(id) ? "" : " not"} deleted`,
            );
          }
        }
      },
    ),
    { numRuns: 100 },
  );
});
