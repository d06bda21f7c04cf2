import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { GenerationCache } from "./generation-cache.ts";
import { quorumSize, quorumValue } from "./quorum.ts";

describe("quorum", () => {
  it("is a majority of three or more, and the home alone below", () => {
    assert.deepEqual([1, 2, 3, 4, 5, 6, 7].map(quorumSize), [1, 1, 2, 3, 3, 4, 4]);
  });

  it("counts the home always, and as many others as it needs", () => {
    const held: Record<string, number> = { eu: 9, us: 7, ap: 3, sa: 5, af: 1 };
    const value = (...members: string[]) => quorumValue(members, "eu", (site) => held[site]!);
    assert.equal(value("eu"), 9);
    assert.equal(value("eu", "us"), 9);
    assert.equal(value("eu", "us", "ap"), 7);
    assert.equal(value("eu", "us", "ap", "sa"), 5);
    assert.equal(value("eu", "us", "ap", "sa", "af"), 5);
    held.eu = 4;
    assert.equal(value("eu", "us", "ap"), 4, "what the home has lost does not count");
  });
});

describe("generation cache", () => {
  it("answers what was set last, or nothing, and holds no more than its capacity", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 10 }),
        fc.array(fc.tuple(fc.constantFrom("get", "set", "delete"), fc.nat(20)), { maxLength: 200 }),
        (capacity, actions) => {
          const cache = new GenerationCache<number, number>(capacity);
          const model = new Map<number, number>();
          for (const [index, [action, key]] of actions.entries()) {
            if (action === "set") {
              cache.set(key, index);
              model.set(key, index);
              assert.equal(cache.get(key), index, "the newest is held");
            } else if (action === "delete") {
              cache.delete(key);
              model.delete(key);
            } else {
              const found = cache.get(key);
              if (found !== undefined) assert.equal(found, model.get(key));
            }
            assert.ok(cache.size <= capacity);
          }
        },
      ),
    );
  });

  it("keeps what is asked for", () => {
    const cache = new GenerationCache<string, string>(10);
    cache.set("wanted", "yes");
    for (let n = 0; n < 100; n++) {
      cache.set(`other ${n}`, "no");
      assert.equal(cache.get("wanted"), "yes");
    }
    assert.equal(cache.get("other 0"), undefined);
  });
});
