import assert from "node:assert/strict";
import { test } from "node:test";
import { CommandError } from "../exit-status.ts";
import { parseDuration } from "./duration.ts";
import { parseRate } from "./faults.ts";

test("durations", () => {
  assert.deepEqual(
    ["500ms", "60s", "5m", "1h", "2", "1.5s"].map(parseDuration),
    [500, 60_000, 300_000, 3_600_000, 2_000, 1_500],
  );
  for (const text of ["", "soon", "-1s", "5d"]) assert.throws(() => parseDuration(text), CommandError, text);
});

test("rates", () => {
  assert.deepEqual(["20MB", "512KiB", "1.5GB/s", "100", "2 MiB", "none"].map(parseRate), [
    20e6,
    524_288,
    1.5e9,
    100,
    2 * 1024 ** 2,
    undefined,
  ]);
  for (const text of ["", "0MB", "fast", "20XB", "-1MB"]) assert.throws(() => parseRate(text), CommandError, text);
});
