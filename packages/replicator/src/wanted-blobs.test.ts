import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { digestOf } from "@meridian/oci";
import { createManualTime, type Random } from "@meridian/runtime";
import { BlobRank } from "./wanted-blob.ts";
import { WantedBlobs } from "./wanted-blobs.ts";

const noChance: Random = { next: () => 0, bytes: (length) => new Uint8Array(length) };
const blob = (name: string, size: number, rank: BlobRank = BlobRank.layer) => ({ digest: digestOf(name), size, rank });

function setOf(random = noChance) {
  const { clock, advance } = createManualTime(0);
  return { wanted: new WantedBlobs({ clock, random, retryFirstMs: 100, retryMaxMs: 1_000 }), advance };
}

describe("wanted blobs", () => {
  test("manifests come first, then configs, then layers, the smallest first", () => {
    // A full period of a small linear congruential generator: the same numbers in every run.
    let state = 1;
    const below = (limit: number): number => {
      state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
      return Math.floor((state / 2_147_483_648) * limit);
    };
    for (let round = 0; round < 100; round += 1) {
      const { wanted } = setOf();
      const names = new Set<string>();
      for (let count = below(60); count > 0; count -= 1) {
        const name = String(below(30));
        names.add(name);
        wanted.want("r", blob(name, below(10), below(3) as BlobRank));
      }
      const taken: number[] = [];
      for (let next = wanted.take(); next !== undefined; next = wanted.take())
        taken.push(next.rank * 1_000 + next.size);
      assert.deepEqual(
        taken,
        taken.toSorted((a, b) => a - b),
      );
      assert.equal(taken.length, names.size, "each digest once");
    }
  });

  test("a digest named twice keeps both repositories, the better rank and the known size", () => {
    const { wanted } = setOf();
    wanted.want("a", blob("x", 0));
    wanted.want("a", blob("y", 5));
    wanted.want("b", blob("x", 9, BlobRank.manifest));
    const first = wanted.take();
    assert.deepEqual([first?.digest, first?.size, first?.rank], [digestOf("x"), 9, BlobRank.manifest]);
    assert.deepEqual([...first!.repositories], ["a", "b"]);
  });

  test("a failure rests longer each time, up to the longest", async () => {
    const { wanted, advance } = setOf();
    wanted.want("r", blob("x", 1));
    for (const restMs of [100, 200, 400, 800, 1_000, 1_000]) {
      wanted.failed(wanted.take()!);
      assert.equal(wanted.wakeRested(), restMs);
      await advance(restMs - 1);
      assert.equal(wanted.wakeRested(), 1);
      assert.equal(wanted.take(), undefined);
      await advance(1);
      assert.equal(wanted.wakeRested(), undefined);
    }
  });

  test("chance shortens a rest by at most a half", () => {
    const { wanted } = setOf({ ...noChance, next: () => 0.999 });
    wanted.want("r", blob("x", 1));
    wanted.failed(wanted.take()!);
    assert.equal(Math.round(wanted.wakeRested()!), 50);
  });

  test("without a holder it waits for one; a holder or a returning site ends a rest", () => {
    const { wanted } = setOf();
    wanted.want("r", blob("x", 1));
    wanted.homeless(wanted.take()!);
    wanted.wakeAll();
    assert.equal(wanted.take(), undefined, "a site that comes back does not make a holder");
    wanted.holderAppeared(digestOf("x"), "us");
    wanted.failed(wanted.take()!);
    wanted.holderAppeared(digestOf("x"), "us");
    wanted.failed(wanted.take()!);
    wanted.wakeAll();
    assert.equal(wanted.take()?.failures, 2);
  });

  test("what was dropped never comes up again, unless it is wanted again", () => {
    const { wanted } = setOf();
    const dropped = wanted.want("r", blob("x", 1));
    wanted.drop(digestOf("x"));
    assert.equal(wanted.take(), undefined);
    wanted.putBack(dropped);
    assert.equal(wanted.take(), undefined);
    wanted.want("r", blob("x", 1));
    assert.equal(wanted.take()?.digest, digestOf("x"));
  });

  test("counts say what is in which state", () => {
    const { wanted } = setOf();
    for (const [index, size] of [1, 2, 4, 8, 16].entries()) wanted.want("r", blob(String(index), size));
    wanted.landed(wanted.take()!);
    wanted.homeless(wanted.take()!);
    wanted.failed(wanted.take()!);
    wanted.take();
    assert.deepEqual(wanted.counts(), {
      ready: 1,
      fetching: 1,
      landed: 1,
      homeless: 1,
      resting: 1,
      poisoned: 0,
      bytes: 30,
    });
  });
});
