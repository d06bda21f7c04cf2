import assert from "node:assert/strict";
import { test } from "node:test";
import { decodeRecord } from "./merge.ts";
import { registersOf } from "./register-rows.ts";
import { createManualClock, digestFor, SimulatedSite, settle } from "./simulated-site.ts";

test("two sites that have folded the same logs hold the same registers, byte by byte, and give out any range of them", async () => {
  const clock = createManualClock();
  const [eu, us] = [new SimulatedSite("eu", { clock }), new SimulatedSite("us", { clock })];
  for (const [index, site] of [eu, us, eu, us].entries()) {
    const tag = { kind: "tag", repository: "r", tag: `t${index % 3}`, digest: digestFor(`m${index}`) } as const;
    await site.commit([{ ...tag, mediaType: "application/vnd.example", size: 1, who: "x" }]);
    clock.advance(1);
  }
  await settle([eu, us]);
  const of = (site: SimulatedSite, range = {}) => [...registersOf(site.view.store, range)];
  assert.deepEqual(of(eu), of(us));
  assert.deepEqual(
    of(eu).map(({ key }) => key),
    ["rt r t0", "rt r t1", "rt r t2"],
  );
  assert.deepEqual(
    of(us, { from: "rt r t1", to: "rt r t2" }).map(({ key }) => key),
    ["rt r t1"],
  );
  assert.equal(of(us, { limit: 2 }).length, 2);
  assert.equal(decodeRecord(of(us)[0]!.record).put?.hlc?.site, "us");
});
