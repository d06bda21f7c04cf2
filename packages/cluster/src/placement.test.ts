import assert from "node:assert/strict";
import { test } from "node:test";
import { digestOf } from "@meridian/oci";
import fc from "fast-check";
import { ownersOf, placementOrder, rankNodes } from "./placement.ts";

const KEYS = 4_000;
const digests = Array.from({ length: KEYS }, (_, index) => digestOf(`blob ${index}`));
const nodesOf = (count: number): string[] => Array.from({ length: count }, (_, index) => `eu/blob-node-${index + 1}`);

test("the order depends on the names only, not on how they are listed", () => {
  const nodes = fc.uniqueArray(fc.stringMatching(/^[a-z]{1,4}\/[a-z0-9-]{1,8}$/), { maxLength: 8 });
  fc.assert(
    fc.property(nodes, fc.string(), (names, content) => {
      const ranked = rankNodes(digestOf(content), names);
      assert.deepEqual(rankNodes(digestOf(content), names.toReversed()), ranked);
      assert.deepEqual(ranked.toSorted(), names.toSorted());
    }),
  );
});

test("a node that leaves moves only its own digests, and those are one in n", () => {
  fc.assert(
    fc.property(fc.integer({ min: 2, max: 9 }), fc.nat(), (count, pick) => {
      const nodes = nodesOf(count);
      const gone = nodes[pick % count]!;
      const rest = nodes.filter((node) => node !== gone);
      let moved = 0;
      for (const digest of digests) {
        const before = rankNodes(digest, nodes);
        assert.deepEqual(
          rankNodes(digest, rest),
          before.filter((node) => node !== gone),
        );
        if (before[0] === gone) moved += 1;
      }
      const expected = KEYS / count;
      // Six standard deviations of a binomial count.
      const slack = 6 * Math.sqrt(expected * (1 - 1 / count));
      assert.ok(Math.abs(moved - expected) < slack, `${moved} of ${KEYS} moved with ${count} nodes`);
    }),
    { numRuns: 15 },
  );
});

test("owners are the first of the order, as many as there are", () => {
  const digest = digests[0]!;
  const placed = nodesOf(3).map((node) => ({ node }));
  assert.deepEqual(ownersOf(digest, placed, 2), rankNodes(digest, nodesOf(3)).slice(0, 2));
  assert.deepEqual(ownersOf(digest, [{ node: "eu/a" }], 2), ["eu/a"]);
  assert.deepEqual(ownersOf(digest, [], 2), []);
});

test("copies share a zone only when there are fewer zones than copies", () => {
  const zone = fc.option(fc.constantFrom("a", "b", "c"), { nil: undefined });
  const placed = fc.array(zone, { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(placed, fc.integer({ min: 1, max: 5 }), fc.string(), (zones, copies, content) => {
      const nodes = zones.map((zone, index) => ({ node: `eu/n${index}`, zone }));
      const zoneOf = (node: string): string => nodes.find((one) => one.node === node)?.zone ?? node;
      const owners = ownersOf(digestOf(content), nodes, copies);
      const all = new Set(nodes.map(({ node }) => zoneOf(node)));
      assert.equal(owners.length, Math.min(copies, nodes.length));
      assert.equal(new Set(owners.map(zoneOf)).size, Math.min(owners.length, all.size));
      assert.equal(
        owners[0],
        rankNodes(
          digestOf(content),
          nodes.map(({ node }) => node),
        )[0],
      );
    }),
  );
});

test("every node comes exactly once, whatever the zones", () => {
  const nodes = nodesOf(6).map((node, index) => ({ node, zone: index < 4 ? "one" : "two" }));
  for (const digest of digests.slice(0, 50)) {
    assert.deepEqual(placementOrder(digest, nodes).toSorted(), nodesOf(6));
  }
});

test("the hash never changes: sites of different versions must agree", () => {
  const ranks = ["", "a", "b"].map((content) =>
    rankNodes(digestOf(content), ["eu/a", "eu/b", "eu/c", "us/d"]).join(" "),
  );
  assert.deepEqual(ranks, ["eu/a eu/c eu/b us/d", "eu/a eu/b us/d eu/c", "eu/c eu/a eu/b us/d"]);
});

test("10 000 rankings of three nodes take well under a second of CPU time", () => {
  const nodes = nodesOf(3);
  const started = process.cpuUsage();
  for (let index = 0; index < 10_000; index += 1) rankNodes(digests[index % KEYS]!, nodes);
  const { user, system } = process.cpuUsage(started);
  assert.ok(user + system < 1_000_000, `${user + system} µs`);
});
