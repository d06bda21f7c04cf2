import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { digestOf } from "@meridian/oci";
import { Quarantine } from "./quarantine.ts";

describe("Quarantine", () => {
  let now = 0;
  const clock = { now: () => now, monotonic: () => now };
  const [a, b, c, d] = ["a", "b", "c", "d"].map((text) => digestOf(text)) as [never, never, never, never];

  it("keeps one replica from being asked, for a time", () => {
    const quarantine = new Quarantine({ clock, forMs: 1_000 });
    quarantine.add("eu/n", a);
    assert.equal(quarantine.has("eu/n", a), true);
    assert.equal(quarantine.has("eu/n", b), false);
    assert.equal(quarantine.has("us/n", a), false);
    now += 1_000;
    assert.equal(quarantine.has("eu/n", a), false);
  });

  it("keeps a node that lied about three blobs from being asked for any", () => {
    const quarantine = new Quarantine({ clock, forMs: 1_000 });
    for (const lie of [a, b, c]) quarantine.add("eu/n", lie);
    assert.equal(quarantine.has("eu/n", d), true);
    now += 1_000;
    assert.equal(quarantine.has("eu/n", d), false);
  });
});
