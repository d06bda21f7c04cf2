import assert from "node:assert/strict";
import { test } from "node:test";
import { ownersOf } from "@meridian/cluster";
import { digestOf } from "@meridian/oci";
import fc from "fast-check";
import { type CopyState, planCopies } from "./copy-plan.ts";

const NODES = ["eu/a", "eu/b", "eu/c", "eu/d"];
const subset = fc.subarray(NODES);
const states = fc
  .record({
    content: fc.string(),
    copies: fc.integer({ min: 1, max: 3 }),
    kept: subset,
    holders: subset,
    away: subset,
    lost: subset,
  })
  .map(
    ({ content, copies, kept, holders, away, lost }): CopyState => ({
      digest: digestOf(content),
      copies,
      keepers: kept.map((node) => ({ node })),
      holders,
      away: new Set([...away, ...lost]),
      lost: new Set(lost),
    }),
  );

test("a copy is never removed unless every owner has one and as many as are wanted stay", () => {
  fc.assert(
    fc.property(states, (state) => {
      const { owners, surplus, sources } = planCopies(state);
      if (surplus.length === 0) return;
      const left = sources.filter((node) => !surplus.includes(node));
      for (const owner of owners) assert.ok(left.includes(owner));
      const able = state.keepers.filter(({ node }) => !state.lost.has(node)).length;
      assert.ok(left.length >= Math.min(state.copies, able) && left.length >= 1);
    }),
  );
});

test("what is planned ends: carried out, it leaves each blob at its owners and nowhere else that can be asked", () => {
  fc.assert(
    fc.property(states, (state) => {
      fc.pre(state.holders.some((node) => !state.lost.has(node)));
      let holders = [...state.holders];
      for (let round = 0; round < 3; round++) {
        const { missing, surplus } = planCopies({ ...state, holders });
        holders = [...holders, ...missing].filter((node) => !surplus.includes(node));
      }
      const { missing, surplus, owners } = planCopies({ ...state, holders });
      assert.deepEqual([missing, surplus], [[], []]);
      if (owners.every((node) => !state.away.has(node)) && owners.length > 0) {
        assert.deepEqual(holders.filter((node) => !state.away.has(node)).toSorted(), owners.toSorted());
      }
    }),
  );
});

test("a node that is away for a while keeps its part; one that is lost is replaced, and its copy is not relied on", () => {
  const digest = digestOf("blob");
  const keepers = NODES.map((node) => ({ node }));
  const [first, second, third] = ownersOf(digest, keepers, 4) as [string, string, string];
  const base = { digest, copies: 2, keepers, holders: [first, second] };
  const away = new Set([second]);
  assert.deepEqual(planCopies({ ...base, away, lost: new Set() }).missing, []);
  const lost = planCopies({ ...base, away, lost: away });
  assert.deepEqual([lost.missing, lost.sources, lost.surplus], [[third], [first], []]);
  const back = planCopies({ ...base, holders: [first, second, third], away: new Set(), lost: new Set() });
  assert.deepEqual([back.missing, back.surplus], [[], [third]]);
});

test("a drained node gives its copy up once the others have theirs", () => {
  const digest = digestOf("blob");
  const keepers = NODES.slice(0, 3).map((node) => ({ node }));
  const owners = ownersOf(digest, keepers, 2);
  const base = { digest, copies: 2, keepers, away: new Set<string>(), lost: new Set<string>() };
  assert.deepEqual(planCopies({ ...base, holders: ["eu/d"] }), {
    owners,
    sources: ["eu/d"],
    missing: owners,
    surplus: [],
  });
  assert.deepEqual(planCopies({ ...base, holders: ["eu/d", ...owners] }).surplus, ["eu/d"]);
});
