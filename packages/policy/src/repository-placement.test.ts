import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { create } from "@bufbuild/protobuf";
import { isContentError } from "@meridian/oci";
import { policyV1 } from "@meridian/wire";
import { isRestricted, mayHold, mayMount, placementAt } from "./repository-placement.ts";
import { changedSettings, describeSettings } from "./repository-settings.ts";
import { RepositorySettingsTable } from "./repository-settings-table.ts";

const members = ["eu", "us", "ap"];

function written(values: Record<string, string>): Record<string, string> {
  const doc = changedSettings({ prefix: "apps", held: undefined, values, members });
  return describeSettings(doc.case === "repositorySettings" ? doc.value : undefined);
}

function tableOf(placements: Record<string, { lazy?: string[]; never?: string[] }>): RepositorySettingsTable {
  const table = new RepositorySettingsTable();
  for (const [prefix, placement] of Object.entries(placements))
    table.put(create(policyV1.RepositorySettingsSchema, { prefix, placement }));
  return table;
}

describe("placement of a repository", () => {
  it("reads back as it was written, in order of site", () => {
    for (const placement of ["eager", "us:lazy", "ap:never,us:lazy"])
      assert.deepEqual(written({ placement }), { placement });
    assert.deepEqual(written({ placement: "us:lazy, ap:never, eu:eager" }), { placement: "ap:never,us:lazy" });
    assert.deepEqual(written({ durability: "sites:3" }), { durability: "sites:3" });
  });

  it("refuses strangers, contradictions, and to keep bytes from every site", () => {
    const wrong = ["mars:never", "us:sometimes", "us", "us:lazy,us:never", "us:never:x", "eu:never,us:never,ap:never"];
    const cases = [
      ...wrong.map((placement) => ({ placement })),
      ...["sites:0", "sites:4", "2", "sites:x", "sites:"].map((durability) => ({ durability })),
    ];
    for (const values of cases) {
      assert.throws(
        () => written(values),
        (error) => isContentError(error, "invalid"),
        JSON.stringify(values),
      );
    }
  });

  it("is that of the longest prefix, as a whole", () => {
    const table = tableOf({ "": { lazy: ["us"] }, team: { never: ["ap"] } });
    const at = (repository: string): string[] => members.map((site) => placementAt(table.of(repository), site));
    assert.deepEqual(at("other"), ["eager", "lazy", "eager"]);
    assert.deepEqual(at("team/app"), ["eager", "eager", "never"]);
  });

  it("lets a site hold what one of the repositories that show it allows, and nothing that none is known to show", () => {
    const table = tableOf({ kept: { never: ["us"] } });
    const may = (site: string, ...repositories: string[]): boolean => mayHold(table, site, () => repositories);
    assert.deepEqual(
      [may("us", "kept"), may("us", "kept/too", "free"), may("us"), may("ap")],
      [false, true, false, true],
    );
    assert.deepEqual([isRestricted(table, "us"), isRestricted(table, "ap")], [true, false]);
  });

  it("lets a mount go only where the bytes are kept from the same sites", () => {
    const table = tableOf({ kept: { never: ["us"] }, more: { never: ["us", "ap"] } });
    assert.equal(mayMount(table, { from: "kept", to: "free" }), false);
    assert.equal(mayMount(table, { from: "kept", to: "more" }), true);
    assert.equal(mayMount(table, { from: "more", to: "kept" }), false);
    assert.equal(mayMount(table, { from: "free", to: "kept" }), true);
  });
});
