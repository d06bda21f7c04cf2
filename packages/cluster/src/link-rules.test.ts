import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isLinkOpen, linksSchema } from "./link-rules.ts";

const at = (time: string): number => Date.parse(`2026-08-01T${time}:00Z`);

describe("time windows of a link", () => {
  it("go over midnight, begin with their first minute and end before their last", () => {
    const rules = linksSchema.parse({ us: { windows: ["22:00-06:00"] } });
    const open = ["21:59", "22:00", "23:59", "00:00", "05:59", "06:00", "12:00"].map((t) =>
      isLinkOpen(rules, "us", at(t)),
    );
    assert.deepEqual(open, [false, true, true, true, true, false, false]);
  });

  it("are several, or the whole day", () => {
    const rules = linksSchema.parse({
      us: { windows: ["01:00-02:00", "12:30-13:00"] },
      ap: { windows: ["08:00-08:00"] },
    });
    const open = ["00:59", "01:30", "12:29", "12:30", "13:00"].map((t) => isLinkOpen(rules, "us", at(t)));
    assert.deepEqual(open, [false, true, false, true, false]);
    assert.ok(isLinkOpen(rules, "ap", at("07:59")) && isLinkOpen(rules, "ap", at("08:00")));
  });

  it("do not bind a link without rules, or with a rate alone", () => {
    const rules = linksSchema.parse({ us: { maxBytesPerSecond: 1_000_000 } });
    assert.ok(isLinkOpen(rules, "us", at("12:00")) && isLinkOpen(rules, "ap", at("12:00")));
  });

  it("that are no times are refused", () => {
    for (const window of ["24:00-01:00", "1:00-2:00", "01:00", "01:60-02:00", ""]) {
      assert.equal(linksSchema.safeParse({ us: { windows: [window] } }).success, false, window);
    }
    assert.equal(linksSchema.safeParse({ us: { windows: [] } }).success, false);
  });
});
