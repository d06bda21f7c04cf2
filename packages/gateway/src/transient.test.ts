import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { ContentError, type ContentErrorKind } from "@meridian/oci";
import { createManualTime } from "@meridian/runtime";
import { gatewayConfigSchema } from "./config.ts";
import { outwait } from "./transient.ts";

const WAIT_MS = 10_000;
const STEP_MS = 5;

/** Waits out an attempt that fails until `passesAt`, and tells how it went. */
async function waitOut(passesAt: number, kind: ContentErrorKind = "unavailable") {
  const { clock, timers, advance } = createManualTime(0);
  let attempts = 0;
  let settledAt: number | undefined;
  const attempt = async (): Promise<string> => {
    attempts += 1;
    if (clock.monotonic() < passesAt) throw new ContentError(kind, "not now");
    return "done";
  };
  const outcome = outwait(attempt, { clock, timers, waitMs: WAIT_MS })
    .catch((error: unknown) => error)
    .finally(() => {
      settledAt = clock.monotonic();
    });
  for (let at = 0; settledAt === undefined && at <= 2 * WAIT_MS; at += STEP_MS) await advance(STEP_MS);
  assert.ok(settledAt !== undefined, "it never ended");
  return { outcome: await outcome, attempts, settledAt };
}

describe("a state that passes by itself", () => {
  test("is waited out, and noticed within half a second", async () => {
    for (const passesAt of [0, 30, 1_000, 9_000]) {
      const { outcome, settledAt } = await waitOut(passesAt);
      assert.equal(outcome, "done");
      assert.ok(settledAt >= passesAt && settledAt <= passesAt + 500 + STEP_MS, `${settledAt} for ${passesAt}`);
    }
  });

  test("is given up when the time is over, with what it failed with", async () => {
    const { outcome, attempts, settledAt } = await waitOut(Number.POSITIVE_INFINITY);
    assert.ok(outcome instanceof ContentError && outcome.kind === "unavailable");
    assert.ok(settledAt <= WAIT_MS && settledAt >= WAIT_MS - 500, `given up after ${settledAt}`);
    assert.ok(attempts < 30, `${attempts} attempts`);
  });

  test("is not what fails for good: that is told at once", async () => {
    const { outcome, attempts } = await waitOut(1_000, "digest-mismatch");
    assert.ok(outcome instanceof ContentError && outcome.kind === "digest-mismatch");
    assert.equal(attempts, 1);
  });

  test("is waited out for as long as clients wait (docs/clients.md), unless told otherwise", () => {
    const config = gatewayConfigSchema.parse({ port: 0 });
    assert.deepEqual(
      [config.transientWaitMs, config.tokenWaitMs, config.bodyIdleMs, config.discardMs],
      [10_000, 5_000, 60_000, 30_000],
    );
    assert.ok(config.keepAliveMs >= 120_000);
  });
});
