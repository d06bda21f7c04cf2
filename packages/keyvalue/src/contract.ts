import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { compareKeys, MAX_KEY_BYTES } from "./key.ts";
import type { KeyRange, OrderedStore } from "./ordered-store.ts";

/** What every {@link OrderedStore} must do. `make` returns an empty store; the suite disposes it. */
export function orderedStoreContract(name: string, make: () => Promise<OrderedStore>): void {
  describe(`ordered store: ${name}`, () => {
    const on = (title: string, body: (store: OrderedStore) => Promise<void>): void => {
      test(title, async () => {
        await using store = await make();
        await body(store);
      });
    };

    on("gives back what was put, and nothing for an absent key", async (store) => {
      await store.transaction((tx) => {
        tx.put("a", bytes("1"));
        tx.put("empty", new Uint8Array(0));
      });
      assert.equal(text(store.get("a")), "1");
      assert.equal(store.get("empty")?.length, 0);
      assert.equal(store.get("b"), undefined);
      assert.equal(store.get(""), undefined);
    });

    on("orders keys as UTF-8 bytes, separators and surrogates included", async (store) => {
      const keys = ["\0", "\0a", "a", "a\0", "a\0b", "a\x01", "aa", "b", "é", "\uffff", "\u{1f600}"];
      await store.transaction((tx) => {
        for (const key of keys.toReversed()) tx.put(key, bytes(key));
      });
      assert.deepEqual(keysOf(store, {}), keys);
      assert.deepEqual(keysOf(store, { reverse: true }), keys.toReversed());
      assert.deepEqual(keysOf(store, { start: "a\0", end: "a\x01" }), ["a\0", "a\0b"]);
    });

    on("bounds a range: start inclusive, end exclusive, both ways, with a limit", async (store) => {
      await fill(store, ["b", "d", "f", "h"]);
      assert.deepEqual(keysOf(store, { start: "d", end: "h" }), ["d", "f"]);
      assert.deepEqual(keysOf(store, { start: "c", end: "g" }), ["d", "f"]);
      assert.deepEqual(keysOf(store, { start: "f", end: "b", reverse: true }), ["f", "d"]);
      assert.deepEqual(keysOf(store, { start: "g", end: "a", reverse: true }), ["f", "d", "b"]);
      assert.deepEqual(keysOf(store, { end: "d", reverse: true }), ["h", "f"]);
      assert.deepEqual(keysOf(store, { start: "z" }), []);
      assert.deepEqual(keysOf(store, { start: "a", reverse: true }), []);
      assert.deepEqual(keysOf(store, { start: "f", end: "c" }), []);
      assert.deepEqual(keysOf(store, { limit: 2 }), ["b", "d"]);
      assert.deepEqual(keysOf(store, { limit: 1, reverse: true }), ["h"]);
      assert.deepEqual(keysOf(store, { limit: 0 }), []);
      assert.deepEqual(keysOf(store, { start: "", end: "d" }), ["b"]);
      assert.deepEqual(keysOf(store, { end: "" }), []);
      assert.deepEqual(keysOf(store, { start: "d", end: "", reverse: true }), ["d", "b"]);
    });

    on("shows a transaction its own writes, and others only once it is committed", async (store) => {
      await fill(store, ["a", "b"]);
      const committed = store.transaction((tx) => {
        tx.put("c", bytes("3"));
        assert.equal(tx.delete("a"), true);
        assert.equal(tx.delete("a"), false);
        assert.deepEqual(
          [...tx.range({})].map(([key]) => key),
          ["b", "c"],
        );
        assert.equal(text(tx.get("c")), "3");
        return 42;
      });
      assert.deepEqual(keysOf(store, {}), ["a", "b"]);
      assert.equal(await committed, 42);
      assert.deepEqual(keysOf(store, {}), ["b", "c"]);
    });

    on("takes back everything of a transaction that throws, and nothing of its neighbours", async (store) => {
      await fill(store, ["kept", "deleted"]);
      const outcomes = await Promise.allSettled([
        store.transaction((tx) => tx.put("before", bytes("x"))),
        store.transaction((tx) => {
          tx.put("kept", bytes("overwritten"));
          tx.put("new", bytes("x"));
          tx.delete("deleted");
          throw new Error("no");
        }),
        store.transaction((tx) => tx.put("after", bytes("x"))),
      ]);
      assert.deepEqual(
        outcomes.map((outcome) => outcome.status),
        ["fulfilled", "rejected", "fulfilled"],
      );
      assert.deepEqual(keysOf(store, {}), ["after", "before", "deleted", "kept"]);
      assert.equal(text(store.get("kept")), "kept");
    });

    on("rejects with the very error that the change threw", async (store) => {
      const error = new Error("mine");
      await assert.rejects(
        store.transaction(() => {
          throw error;
        }),
        (caught) => caught === error,
      );
    });

    on("refuses a change that returns a promise, and stores nothing of it", async (store) => {
      await assert.rejects(
        store.transaction(async (tx) => tx.put("a", bytes("1"))),
        TypeError,
      );
      assert.equal(store.get("a"), undefined);
    });

    on("runs transactions one after another, in the order they were asked for", async (store) => {
      const increment = (): Promise<number> =>
        store.transaction((tx) => {
          const next = Number(text(tx.get("n")) ?? "0") + 1;
          tx.put("n", bytes(String(next)));
          return next;
        });
      const results = await Promise.all(Array.from({ length: 200 }, increment));
      assert.deepEqual(
        results,
        Array.from({ length: 200 }, (_, i) => i + 1),
      );
    });

    on("keeps a range as it was while others write", async (store) => {
      const keys = Array.from({ length: 600 }, (_, i) => `k${String(i).padStart(4, "0")}`);
      await fill(store, keys);
      const seen: string[] = [];
      for (const [key, value] of store.range({})) {
        seen.push(key);
        assert.equal(text(value), key);
        if (seen.length % 100 === 0) {
          await store.transaction((tx) => {
            tx.delete(keys[seen.length + 10] ?? "");
            tx.put(`${key}+`, bytes("new"));
            tx.put(keys.at(-1)!, bytes("changed"));
          });
        }
      }
      assert.deepEqual(seen, keys);
      assert.equal(text(store.get(keys.at(-1)!)), "changed");
    });

    on("hands out bytes that are the caller's to keep, and keeps none of the caller's", async (store) => {
      for (const size of [10, 5_000, 40_000, 200_000]) {
        const given = new Uint8Array(size).fill(1);
        await store.transaction((tx) => {
          tx.put("v", given);
          given.fill(2);
        });
        const first = store.get("v")!;
        const [[, ranged] = []] = [...store.range({ start: "v" })];
        await store.transaction((tx) => tx.put("v", new Uint8Array(size).fill(3)));
        store.get("v");
        assert.deepEqual([first.length, first[0], first.at(-1)], [size, 1, 1]);
        assert.deepEqual([ranged?.length, ranged?.[0], ranged?.at(-1)], [size, 1, 1]);
        first.fill(9);
        assert.equal(store.get("v")?.[0], 3);
      }
    });

    on("refuses keys that are empty or too long, and changes nothing then", async (store) => {
      const longest = "é".repeat(MAX_KEY_BYTES / 2);
      await store.transaction((tx) => tx.put(longest, bytes("x")));
      assert.equal(text(store.get(longest)), "x");
      for (const key of ["", `${longest}x`, "\u{1f600}".repeat(500)]) {
        await assert.rejects(
          store.transaction((tx) => {
            tx.put("other", bytes("x"));
            tx.put(key, bytes("x"));
          }),
          RangeError,
        );
        assert.equal(store.get(key), undefined);
      }
      assert.deepEqual(keysOf(store, {}), [longest]);
    });

    on("clears", async (store) => {
      await fill(store, ["a", "b"]);
      await store.clear();
      assert.deepEqual(keysOf(store, {}), []);
      await fill(store, ["c"]);
      assert.deepEqual(keysOf(store, {}), ["c"]);
    });

    on("flushes, also with nothing to flush and for many callers at once", async (store) => {
      await store.flushed();
      await Promise.all(
        Array.from({ length: 50 }, async (_, i) => {
          await fill(store, [`k${i}`]);
          await store.flushed();
        }),
      );
      assert.equal(keysOf(store, {}).length, 50);
    });

    on("behaves like a sorted map under random changes", async (store) => {
      const random = randomNumbers(20_26);
      const model = new Map<string, string>();
      const key = (): string => String.fromCodePoint(...Array.from({ length: 1 + random(3) }, () => 97 + random(6)));
      for (let round = 0; round < 60; round++) {
        const changes = Array.from({ length: random(30) }, () => ({
          key: key(),
          value: random(4) && String(random(1e6)),
        }));
        const fails = random(5) === 0;
        await store
          .transaction((tx) => {
            for (const { key, value } of changes) value === 0 ? tx.delete(key) : tx.put(key, bytes(value));
            if (fails) throw new Error("rolled back");
          })
          .catch((error: Error) => assert.equal(error.message, "rolled back"));
        if (!fails) for (const { key, value } of changes) value === 0 ? model.delete(key) : model.set(key, value);
        const range = { start: key(), end: key(), reverse: random(2) === 0, limit: 1 + random(10) };
        assert.deepEqual(
          [...store.range(range)].map(([key, value]) => [key, text(value)]),
          expected(model, range),
        );
      }
      assert.deepEqual(keysOf(store, {}), [...model.keys()].sort(compareKeys));
    });

    test("refuses everything once it is closed", async () => {
      const store = await make();
      await fill(store, ["a"]);
      await store[Symbol.asyncDispose]();
      await store[Symbol.asyncDispose]();
      assert.throws(() => store.get("a"), /closed/);
      await assert.rejects(async () => fill(store, ["b"]), /closed/);
    });
  });
}

function expected(model: Map<string, string>, range: Required<KeyRange>): [string, string][] {
  const inside = (key: string): boolean =>
    range.reverse
      ? compareKeys(key, range.start) <= 0 && compareKeys(key, range.end) > 0
      : compareKeys(key, range.start) >= 0 && compareKeys(key, range.end) < 0;
  const entries = [...model].filter(([key]) => inside(key)).sort(([a], [b]) => compareKeys(a, b));
  return (range.reverse ? entries.reverse() : entries).slice(0, range.limit);
}

/** Whole numbers below the bound, the same for the same seed. */
function randomNumbers(seed: number): (bound: number) => number {
  let state = seed;
  return (bound) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
}

async function fill(store: OrderedStore, keys: readonly string[]): Promise<void> {
  await store.transaction((tx) => {
    for (const key of keys) tx.put(key, bytes(key));
  });
}

function keysOf(store: OrderedStore, range: KeyRange): string[] {
  return [...store.range(range)].map(([key]) => key);
}

function bytes(value: string): Uint8Array {
  return Buffer.from(value);
}

function text(value: Uint8Array | undefined): string | undefined {
  return value === undefined ? undefined : Buffer.from(value).toString();
}
