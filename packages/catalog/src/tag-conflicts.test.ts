import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Change } from "./catalog.ts";
import { createManualClock, digestFor, SimulatedSite, settle } from "./simulated-site.ts";
import { type TagWrite, writesOf } from "./tag-history.ts";

const SITES = ["eu", "us", "ap"] as const;
const KEY = { repository: "app", tag: "t" };

type Step =
  | { readonly do: "put" | "delete"; readonly site: number }
  | { readonly do: "tail"; readonly site: number; readonly other: number }
  | { readonly do: "wait"; readonly ms: number };

const site = fc.nat({ max: SITES.length - 1 });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant("put" as const), site }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("delete" as const), site }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("tail" as const), site, other: site }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("wait" as const), ms: fc.integer({ min: 0, max: 3 }) }) },
);

/** A write as the test saw it: what its site had been told of before, directly or through others. */
interface Made {
  readonly digest: string | undefined;
  readonly site: string;
  readonly seen: ReadonlySet<Made>;
}

/** The model: who had been told of what, by sets of writes instead of by readings of clocks. */
class Told {
  readonly made: Made[] = [];
  readonly #known = SITES.map(() => new Set<Made>());
  /** What the last record of each site in its log tells: all that it knew when it wrote it. */
  readonly #published = SITES.map(() => new Set<Made>());

  write(index: number, digest: string | undefined): void {
    const known = this.#known[index]!;
    const made: Made = { digest, site: SITES[index]!, seen: new Set(known) };
    this.made.push(made);
    known.add(made);
    this.#published[index] = new Set(known);
  }

  tail(index: number, other: number): void {
    for (const made of this.#published[other]!) this.#known[index]!.add(made);
  }
}

async function run(steps: readonly Step[], skews: readonly number[]) {
  const clock = createManualClock();
  const sites = SITES.map((name, index) => new SimulatedSite(name, { clock, skewMs: skews[index] }));
  const told = new Told();
  for (const [count, current] of steps.entries()) {
    if (current.do === "wait") clock.advance(current.ms);
    else if (current.do === "tail") {
      if (current.other === current.site) continue;
      await sites[current.site]!.tail(sites[current.other]!, { again: true });
      told.tail(current.site, current.other);
    } else {
      const isThere = sites[current.site]!.reader.tag(KEY.repository, KEY.tag) !== undefined;
      if (current.do === "delete" && !isThere) continue;
      const digest = digestFor(`m${count}`);
      const put: Change = { kind: "tag", ...KEY, digest, mediaType: "m", size: 1, who: "w" };
      await sites[current.site]!.commit([current.do === "put" ? put : { kind: "delete-tag", ...KEY, who: "w" }]);
      told.write(current.site, current.do === "put" ? digest : undefined);
    }
  }
  const history = writesOf(
    sites.flatMap(({ histories }) => histories),
    KEY,
    0,
  );
  return { sites, told, history };
}

/** The first later put of another site that had not been told of it, unless a write between had. */
function loserOf(made: Made, newestFirst: ReadonlyArray<{ write: TagWrite; made: Made }>): string | undefined {
  const at = newestFirst.findIndex((one) => one.made === made);
  for (const { made: later } of newestFirst.slice(0, at).toReversed()) {
    if (later.seen.has(made)) return undefined;
    if (later.digest !== undefined && made.digest !== undefined) return later.digest;
  }
  return undefined;
}

test("whatever the order and the clocks, all sites name the same, and the history names each loser and no other write", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 2, maxLength: 30 }),
      fc.tuple(fc.nat(5), fc.nat(5), fc.nat(5)),
      async (steps, skews) => {
        const { sites, told, history } = await run(steps, skews);
        assert.equal(history.length, told.made.length);
        // Each site's writes are in its own order in both lists; digests tell puts apart.
        const queues = new Map(SITES.map((name) => [name as string, told.made.filter((one) => one.site === name)]));
        const pairs = history.toReversed().map((write) => ({ write, made: queues.get(write.site)!.shift()! }));
        const newestFirst = pairs.toReversed();
        for (const { write, made } of newestFirst) {
          assert.equal(write.digest, made.digest);
          assert.equal(write.lostTo?.digest, loserOf(made, newestFirst));
        }
        for (let round = 0; round < 2; round += 1) await settle(sites);
        const shown = sites.map(({ reader }) => reader.tag(KEY.repository, KEY.tag)?.digest);
        assert.deepEqual(shown, [shown[0], shown[0], shown[0]]);
        const alive = newestFirst.filter(({ made }) => made.digest !== undefined);
        const survivor = alive[0] && told.made.some((one) => one.digest === undefined && one.seen.has(alive[0]!.made));
        assert.equal(
          shown[0],
          survivor === false ? alive[0]?.made.digest : undefined,
          "the latest put, unless deleted",
        );
      },
    ),
    { numRuns: 200 },
  );
});
