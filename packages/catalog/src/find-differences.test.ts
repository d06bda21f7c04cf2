import assert from "node:assert/strict";
import { hash } from "node:crypto";
import { test } from "node:test";
import { findDifferences, MAX_RANGES, type RowSource, summarizeRanges } from "./find-differences.ts";
import { type ComparedRow, compareKeys, HASH_BYTES, MAX_SEGMENTS, type RowRange } from "./range-summary.ts";

type Rows = ReadonlyMap<string, string>;

const ALL: RowRange = { from: "k", to: "l" };

/** Rows in the order of their keys, in batches. */
function sourceOf(rows: Rows): RowSource {
  const sorted = [...rows]
    .map(([key, value]) => ({ key, hash: hash("sha256", key + value, "buffer").subarray(0, HASH_BYTES) }))
    .sort((a, b) => Buffer.compare(Buffer.from(a.key), Buffer.from(b.key)));
  return async function* ({ from, to }) {
    const within = sorted.slice(placeOf(sorted, from), placeOf(sorted, to));
    for (let start = 0; start === 0 || start < within.length; start += 100) yield within.slice(start, start + 100);
  };
}

/** Where the key is, or would be. */
function placeOf(sorted: readonly ComparedRow[], key: string): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle]!.key < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

async function compare(own: Rows, other: Rows): Promise<{ keys: string[]; messages: number }> {
  const theirs = sourceOf(other);
  let messages = 0;
  const ask = (ranges: readonly RowRange[]) => {
    assert.ok(ranges.length <= MAX_RANGES);
    messages += 1;
    return summarizeRanges(ranges, theirs);
  };
  const keys: string[] = [];
  for await (const key of findDifferences(ALL, { own: sourceOf(own), ask })) keys.push(key);
  return { keys: keys.sort(), messages };
}

/** Numbers that look random, the same for the same seed. */
function randomOf(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

function rowsOf(count: number, random: (below: number) => number): Map<string, string> {
  return new Map(Array.from({ length: count }, (_, index) => [`k ${random(4)} ${index}`, String(random(1_000))]));
}

test("random divergences are found exactly: what is more here, more there, and other", async () => {
  for (let seed = 1; seed <= 60; seed++) {
    const random = randomOf(seed);
    const own = rowsOf(random(3_000), random);
    const other = new Map(own);
    const wanted = new Set<string>();
    const keys = [...own.keys()];
    for (let left = random(2) === 0 ? random(5) : random(400); left > 0; left--) {
      const key = keys[random(keys.length)];
      const kind = random(3);
      if (kind === 0 || key === undefined) {
        const added = `k ${random(6)} new ${left}`;
        (random(2) === 0 ? own : other).set(added, "new");
        wanted.add(added);
      } else if (!wanted.has(key)) {
        if (kind === 1) other.set(key, "changed");
        else (random(2) === 0 ? own : other).delete(key);
        wanted.add(key);
      }
    }
    assert.deepEqual((await compare(own, other)).keys, [...wanted].sort(), `seed ${seed}`);
  }
});

test("one side that has nothing is found out in one message, whatever the other has", async () => {
  const rows = rowsOf(5_000, randomOf(7));
  const [here, there] = [await compare(rows, new Map()), await compare(new Map(), rows)];
  assert.equal(here.messages, 1);
  assert.deepEqual(here.keys, [...rows.keys()].sort());
  assert.deepEqual(there.keys, here.keys);
});

test("what is the same costs one message; differences cost each their logarithm at most", async () => {
  const random = randomOf(11);
  const rows = rowsOf(40_000, random);
  assert.deepEqual(await compare(rows, new Map(rows)), { keys: [], messages: 1 });
  const keys = [...rows.keys()];
  for (const differences of [1, 10, 100]) {
    const other = new Map(rows);
    while (other.size > rows.size - differences) other.delete(keys[random(keys.length)]!);
    const { keys: found, messages } = await compare(rows, other);
    assert.equal(found.length, differences);
    const levels = Math.ceil(Math.log(rows.size) / Math.log(MAX_SEGMENTS / 2));
    assert.ok(messages <= 1 + Math.ceil(differences / 8) * levels, `${differences} cost ${messages} messages`);
  }
});

test("a side that answers only some of its ranges is asked for the rest", async () => {
  const random = randomOf(3);
  const own = rowsOf(6_000, random);
  const other = new Map([...own].filter((_, index) => index % 50 !== 0));
  const theirs = sourceOf(other);
  const found: string[] = [];
  const ask = (ranges: readonly RowRange[]) => summarizeRanges(ranges.slice(0, 1), theirs);
  for await (const key of findDifferences(ALL, { own: sourceOf(own), ask })) found.push(key);
  assert.deepEqual(found.sort(), [...own.keys()].filter((key) => !other.has(key)).sort());
});

test("an answer that is none is refused instead of asked for again for ever", async () => {
  const nothing = findDifferences(ALL, { own: sourceOf(new Map()), ask: async () => [] });
  await assert.rejects(nothing.next(), /another question/);
});

test("keys are in the order of their UTF-8 bytes, as stores have them", () => {
  const keys = [
    "",
    "a",
    "aa",
    "b",
    "é",
    "\ud7ff",
    "\ue000",
    "\uffff",
    "\u{1f600}",
    "\u{1f600}a",
    "z\u{10000}",
    "z\uff00",
  ];
  for (const a of keys)
    for (const b of keys)
      assert.equal(Math.sign(compareKeys(a, b)), Buffer.compare(Buffer.from(a), Buffer.from(b)), `${a} ${b}`);
});
