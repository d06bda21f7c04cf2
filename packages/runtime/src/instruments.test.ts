import assert from "node:assert/strict";
import { test } from "node:test";
import { lazyInstruments } from "./instruments.ts";
import { startTelemetry } from "./telemetry.ts";

test("instruments declared before the telemetry starts are in its metrics", async () => {
  const instruments = lazyInstruments("test", (meter) => ({ things: meter.createCounter("test.things") }));
  const telemetry = await startTelemetry({ service: "x", site: "eu", process: "x", version: "0", sampleRatio: 0 });
  try {
    instruments().things.add(3, { outcome: "ok" });
    assert.match(await telemetry.metricsText(), /test_things_total\{[^}]*outcome="ok"[^}]*\} 3/);
  } finally {
    await telemetry.shutdown();
  }
});
