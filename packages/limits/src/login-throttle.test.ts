import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createManualTime } from "@meridian/runtime";
import { createLocalStore } from "./local/local-store.ts";
import { LoginThrottle } from "./login-throttle.ts";

const RULES = { firstDelayMs: 250, maxDelayMs: 3_000, forgetAfterMs: 600_000 };

function bench() {
  const time = createManualTime(0);
  const throttle = new LoginThrottle({ store: createLocalStore(time), rules: RULES, clock: time.clock });
  const failed = (identity: string, address: string): Promise<number> => throttle.failed({ identity, address });
  return { time, throttle, failed };
}

describe("login throttle", () => {
  test("doubles the delay for one identity from one address, up to its bound", async () => {
    const { failed } = bench();
    const delays: number[] = [];
    for (let n = 0; n < 6; n++) delays.push(await failed("bob", "192.0.2.1"));
    assert.deepEqual(delays, [250, 500, 1_000, 2_000, 3_000, 3_000]);
    assert.equal(await failed("bob", "198.51.100.1"), 250, "another address");
    assert.equal(await failed("eve", "192.0.2.1"), 250, "another identity");
  });

  test("slows guesses at one identity from ever new addresses", async () => {
    const { failed } = bench();
    let delayMs = 0;
    for (let n = 0; n < 14; n++) delayMs = await failed("bob", `192.0.2.${n}`);
    assert.equal(delayMs, 2_000);
    assert.equal(await failed("eve", "192.0.2.200"), 250);
  });

  test("slows one address that tries ever new identities, and lets its checks take turns with each other", async () => {
    const { time, throttle, failed } = bench();
    const turn = (identity: string) => throttle.turnOf({ identity, address: "192.0.2.1" });
    let delayMs = 0;
    for (let n = 0; n < 20; n++) delayMs = await failed(`user-${n}`, "192.0.2.1");
    assert.equal(delayMs, 250);
    assert.notEqual(turn("bob"), turn("eve"));
    for (let n = 0; n < 4; n++) delayMs = await failed(`more-${n}`, "192.0.2.1");
    assert.equal(delayMs, 2_000);
    assert.equal(turn("bob"), turn("eve"));
    assert.notEqual(turn("bob"), throttle.turnOf({ identity: "bob", address: "192.0.2.2" }));
    await time.advance(600_001);
    assert.notEqual(turn("bob"), turn("eve"));
  });

  test("counts the addresses of one IPv6 network as one", async () => {
    const { failed } = bench();
    assert.equal(await failed("bob", "2001:db8:1:2::1"), 250);
    assert.equal(await failed("bob", "2001:db8:1:2:ffff::9"), 500);
    assert.equal(await failed("bob", "2001:db8:1:3::1"), 250);
  });

  test("ends a series by the right password, or by time", async () => {
    const { time, throttle, failed } = bench();
    await failed("bob", "192.0.2.1");
    assert.equal(await failed("bob", "192.0.2.1"), 500);
    await throttle.succeeded({ identity: "bob", address: "192.0.2.1" });
    assert.equal(await failed("bob", "192.0.2.1"), 250);
    assert.equal(await failed("bob", "192.0.2.1"), 500);
    await time.advance(600_001);
    assert.equal(await failed("bob", "192.0.2.1"), 250);
  });
});
