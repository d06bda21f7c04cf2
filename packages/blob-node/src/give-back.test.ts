import assert from "node:assert/strict";
import { test } from "node:test";
import { giveBack } from "./give-back.ts";

test("a chunk with memory of its own gives it back; a part of something larger, or a small one, stays", () => {
  const own = Buffer.alloc(64 * 1024);
  giveBack(own);
  assert.equal(own.buffer.byteLength, 0);
  const part = Buffer.alloc(64 * 1024).subarray(1);
  giveBack(part);
  const small = Buffer.alloc(8 * 1024);
  giveBack(small);
  assert.deepEqual([part.byteLength, small.byteLength], [64 * 1024 - 1, 8 * 1024]);
});
