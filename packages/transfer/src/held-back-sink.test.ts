import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { describe, it } from "node:test";
import { digestOf } from "@meridian/oci";
import fc from "fast-check";
import { HELD_BACK_BYTES, holdBack } from "./held-back-sink.ts";
import { collect } from "./test-cluster.ts";

const content = randomBytes(HELD_BACK_BYTES * 2 + 12_345);

describe("holdBack", () => {
  it("passes everything on, the last piece only at the end, however the bytes are cut", async () => {
    const sizes = fc.constantFrom(0, 1, HELD_BACK_BYTES - 1, HELD_BACK_BYTES, HELD_BACK_BYTES + 1, content.length);
    await fc.assert(
      fc.asyncProperty(sizes, fc.integer({ min: 1_000, max: 300_000 }), async (size, step) => {
        const bytes = content.subarray(0, size);
        const sink = collect();
        const held = holdBack(digestOf(bytes), size, sink);
        for (let at = 0; at < size; at += step) await held.write(bytes.subarray(at, at + step));
        assert.equal(sink.length, Math.max(0, size - HELD_BACK_BYTES));
        await held.finish();
        assert.ok(sink.bytes().equals(bytes));
      }),
      { numRuns: 40 },
    );
  });

  it("never lets the last piece of wrong, short or long bytes go", async () => {
    const digest = digestOf(content);
    const wrong = Buffer.from(content);
    wrong[5]! ^= 1;
    for (const bytes of [wrong, content.subarray(0, -1)]) {
      const sink = collect();
      const held = holdBack(digest, content.length, sink);
      await held.write(bytes);
      await assert.rejects(held.finish(), { kind: "digest-mismatch" });
      assert.equal(sink.length, content.length - HELD_BACK_BYTES);
    }
    const held = holdBack(digest, content.length, collect());
    await held.write(content);
    assert.throws(() => held.write(Buffer.alloc(1)), { kind: "digest-mismatch" });
  });
});
