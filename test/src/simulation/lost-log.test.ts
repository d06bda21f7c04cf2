import assert from "node:assert/strict";
import { test } from "node:test";
import { simulate } from "./run.ts";
import type { Step } from "./steps.ts";

type Push = Extract<Step, { kind: "push" }>;

function push(site: number, tag: number, afterMs = 10): Push {
  const image = { layers: [tag, tag + 4], manifest: tag, condition: "none", links: true } as const;
  return { kind: "push", afterMs, site, repository: 0, tag, ...image };
}

const remove = { kind: "delete-tag", afterMs: 500, site: 0, repository: 0, tag: 1, condition: false } as const;

for (const what of ["log", "tail", "everything"] as const) {
  const lose = { kind: "lose", afterMs: 10, site: 0, what, downMs: 500 } as const;
  // Views are folded anew from the logs at the end: what no log holds is gone then.
  test(`what a site's lost log held, its peers publish before they drop their copies of it: ${what}`, async () => {
    for (const seed of [1, 2, 3]) {
      const before = [push(0, 0), push(0, 1)];
      const steps = what === "tail" ? [lose, ...before, remove] : [...before, remove, lose];
      const report = await simulate(seed, [...steps, push(1, 2, 9_000), push(0, 3)]);
      assert.equal(report.losses, 1);
      assert.equal(report.answered, 9, "links and names of four images, and a delete");
      if (what === "tail") assert.equal(report.lives, 4, "the log that was set back begins another life");
    }
  });

  test(`the same when a peer is cut off meanwhile, and dies while it publishes: ${what}`, async () => {
    for (const points of [0, 1, 2, 3, 5, 8, 13, 21]) {
      const cut = { kind: "cut", afterMs: 4_000, from: 0, to: 2, both: true, forMs: 6_000 } as const;
      const die = { kind: "die", afterMs: 0, site: 1, death: "kill", points, downMs: 500, dropView: true } as const;
      const report = await simulate(points, [
        ...(what === "tail" ? [lose, push(0, 0), push(0, 1)] : [push(0, 0), push(0, 1), lose]),
        cut,
        die,
        push(2, 2, 100),
      ]);
      assert.equal(report.losses, 1);
    }
  });
}

test("a site that lost its disk takes no writes while no peer can be asked, and takes them once one can", async () => {
  for (const seed of [1, 2, 3]) {
    const lose = { kind: "lose", afterMs: 10, site: 0, what: "everything", downMs: 500 } as const;
    const cut = { kind: "cut", afterMs: 0, from: 0, both: true, forMs: 20_000 } as const;
    const report = await simulate(seed, [
      ...[push(0, 0), push(0, 1), lose],
      ...[
        { ...cut, afterMs: 500, to: 1 },
        { ...cut, to: 2, forMs: 90_000 },
      ],
      push(0, 2, 4_000),
      push(0, 3, 30_000),
    ]);
    assert.equal(report.losses, 1);
    assert.equal(report.writes, 7, "the refused push ends with its links");
    assert.equal(report.answered, 6);
  }
});

test("a lost tail that was written over before anybody knew: both are there once a peer has seen it, and one life has them", async () => {
  for (const seed of [1, 2, 3, 4]) {
    const lose = { kind: "lose", afterMs: 10, site: 0, what: "image", downMs: 500 } as const;
    const cut = { kind: "cut", afterMs: 0, from: 0, both: true, forMs: 20_000 } as const;
    const report = await simulate(seed, [
      ...[push(0, 0), lose, push(0, 1), push(0, 2)],
      ...[
        { ...cut, afterMs: 500, to: 1 },
        { ...cut, to: 2 },
      ],
      // Neither its own view nor a peer can tell by then: it goes on in the log that was set back.
      ...[push(0, 3, 5_000), push(0, 0), push(0, 3)],
      push(0, 1, 30_000),
    ]);
    assert.equal(report.losses, 1);
    assert.equal(report.answered, 14);
    assert.equal(report.lives, 4, "the log that was set back begins another life");
  }
});

test("what a site deleted and pushes again after it lost its log, with a clock that is behind, comes after both", async () => {
  for (const seed of [1, 2, 3, 4]) {
    const lose = { kind: "lose", afterMs: 10, site: 0, what: "everything", downMs: 500 } as const;
    const behind = { kind: "skew", afterMs: 1_000, site: 0, ms: -1_500, forMs: 60_000 } as const;
    // The oracle says whether the push is dead though no delete saw it.
    const report = await simulate(seed, [push(0, 0), push(0, 1), remove, lose, behind, push(0, 1, 2_000)]);
    assert.equal(report.answered, 7);
  }
});
