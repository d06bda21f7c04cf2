import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createManualTime } from "@meridian/runtime";
import { LinkRates } from "./link-rates.ts";

describe("the rate of a link", () => {
  it("counts what has landed and what is still coming, over half a minute", async () => {
    const time = createManualTime(0);
    const rates = new LinkRates(time.clock);
    await time.advance(1_000);
    rates.sample(new Map([["us", 500]]));
    assert.equal(rates.of("us"), 500);
    await time.advance(1_000);
    rates.landed("us", 3_000);
    rates.sample(new Map());
    assert.deepEqual([rates.of("us"), rates.of("ap")], [1_500, 0]);
    await time.advance(60_000);
    rates.sample(new Map());
    await time.advance(30_000);
    rates.sample(new Map());
    assert.equal(rates.of("us"), 0, "what came long ago is no rate");
  });
});
