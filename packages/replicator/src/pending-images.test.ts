import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { digestOf } from "@meridian/oci";
import { createManualTime } from "@meridian/runtime";
import { PendingImages } from "./pending-images.ts";

const [one, two, shared] = ["one", "two", "shared"].map((name) => digestOf(name)) as [
  ReturnType<typeof digestOf>,
  ReturnType<typeof digestOf>,
  ReturnType<typeof digestOf>,
];

describe("images that lack blobs", () => {
  it("are complete with the last of them, each once, and not before", async () => {
    const time = createManualTime(0);
    const images = new PendingImages(time.clock);
    images.lacks("a", one, [one, shared]);
    images.lacks("b", two, [shared]);
    await time.advance(1_500);
    assert.deepEqual(images.arrived(one), []);
    assert.deepEqual(images.arrived(shared), [
      { repository: "a", digest: one, tookMs: 1_500 },
      { repository: "b", digest: two, tookMs: 1_500 },
    ]);
    assert.deepEqual([images.arrived(shared), images.size], [[], 0]);
  });

  it("are followed anew when more of them becomes known, with their age", async () => {
    const time = createManualTime(0);
    const images = new PendingImages(time.clock);
    images.lacks("a", one, [one]);
    await time.advance(100);
    images.lacks("a", one, [one, two]);
    assert.deepEqual(images.arrived(one), []);
    assert.deepEqual(images.arrived(two), [{ repository: "a", digest: one, tookMs: 100 }]);
  });

  it("are forgotten with a blob that is not wanted any more", () => {
    const images = new PendingImages(createManualTime(0).clock);
    images.lacks("a", one, [one, two]);
    images.dropped(two);
    assert.deepEqual([images.arrived(one), images.size], [[], 0]);
  });
});
