import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { create } from "@bufbuild/protobuf";
import { isContentError } from "@meridian/oci";
import { policyV1 } from "@meridian/wire";
import fc from "fast-check";
import { changedSettings, describeSettings } from "./repository-settings.ts";
import { RepositorySettingsTable } from "./repository-settings-table.ts";
import { PolicyState } from "./state.ts";

const members = ["eu", "us", "ap"];

function change(prefix: string, values: Record<string, string>, held?: policyV1.RepositorySettings) {
  const doc = changedSettings({ prefix, held, values, members });
  return doc.case === "repositorySettings" ? doc.value : undefined;
}

const tagsAt = (prefix: string, home: string): policyV1.RepositorySettings =>
  create(policyV1.RepositorySettingsSchema, { prefix, tags: { home } });

describe("settings of repositories", () => {
  it("read back as they were written, and nothing is left of what is taken away", () => {
    for (const text of ["anywhere", "home:eu", "home:ap"]) {
      const set = change("apps", { tags: text });
      assert.deepEqual(describeSettings(set), { tags: text });
      assert.equal(set?.prefix, "apps");
      assert.equal(change("apps", { tags: "" }, set), undefined, "the entry goes when nothing is set any more");
      assert.deepEqual(describeSettings(change("apps", {}, set)), { tags: text }, "what is not named stays");
    }
  });

  it("refuse what they do not know, and say what there is", () => {
    for (const values of [
      { tags: "home:mars" },
      { tags: "home:" },
      { tags: "nowhere" },
      { tag: "anywhere" },
      { constructor: "x" },
    ]) {
      assert.throws(
        () => change("apps", values as unknown as Record<string, string>),
        (error) => isContentError(error, "invalid") && /eu, us, ap|there is .*tags/.test(error.message),
        JSON.stringify(values),
      );
    }
  });

  it("hold for whole path components, and the longest prefix wins", () => {
    const table = new RepositorySettingsTable();
    for (const [prefix, home] of [
      ["", "eu"],
      ["apps", "us"],
      ["apps/web/front", "ap"],
    ] as const)
      table.put(tagsAt(prefix, home));
    const homeOf = (name: string) => [table.of(name).tags?.value.home, table.of(name).tags?.prefix];
    assert.deepEqual(homeOf("apps/web/front"), ["ap", "apps/web/front"]);
    assert.deepEqual(homeOf("apps/web/front/x"), ["ap", "apps/web/front"]);
    assert.deepEqual(homeOf("apps/web/frontier"), ["us", "apps"]);
    assert.deepEqual(homeOf("apps"), ["us", "apps"]);
    assert.deepEqual(homeOf("apps2"), ["eu", ""]);
    table.remove("");
    assert.deepEqual(homeOf("apps2"), [undefined, undefined]);
  });

  it("answer, after any changes, as a search through all entries does", () => {
    const component = fc.constantFrom("a", "b", "ab");
    const path = fc.array(component, { maxLength: 4 }).map((parts) => parts.join("/"));
    const action = fc.record({ prefix: path, home: fc.option(fc.constantFrom(...members), { nil: undefined }) });
    fc.assert(
      fc.property(fc.array(action, { maxLength: 20 }), fc.array(path, { maxLength: 10 }), (actions, names) => {
        const table = new RepositorySettingsTable();
        const model = new Map<string, string>();
        for (const { prefix, home } of actions) {
          if (home === undefined) table.remove(prefix);
          else table.put(tagsAt(prefix, home));
          if (home === undefined) model.delete(prefix);
          else model.set(prefix, home);
          for (const name of names) {
            const holding = [...model.keys()]
              .filter((held) => held === "" || `${name}/`.startsWith(`${held}/`))
              .toSorted((x, y) => y.length - x.length)[0];
            assert.equal(table.of(name).tags?.prefix, holding);
            assert.equal(table.of(name).tags?.value.home, holding === undefined ? undefined : model.get(holding));
          }
        }
      }),
    );
  });

  it("are entries of the log as all others: the fold takes them, and a removal takes them away", () => {
    const state = new PolicyState();
    const entry = (seq: number, doc: policyV1.Entry["doc"]) =>
      create(policyV1.EntrySchema, {
        epoch: { number: 1n, site: "eu" },
        seq: BigInt(seq),
        baseRev: BigInt(state.revisionOf("repo/apps")),
        opId: `op ${seq}`,
        key: "repo/apps",
        doc,
      });
    assert.equal(state.apply(entry(1, { case: "repositorySettings", value: tagsAt("apps", "us") })), "applied");
    assert.equal(state.repositories.of("apps/web").tags?.value.home, "us");
    const wrong = entry(2, { case: "repositorySettings", value: tagsAt("other", "us") });
    assert.equal(state.apply(wrong), "superseded", "an entry stands under its own prefix only");
    assert.equal(state.apply(entry(3, { case: "removed", value: create(policyV1.RemovedSchema) })), "applied");
    assert.equal(state.repositories.of("apps/web").tags, undefined);
    assert.deepEqual(state.repositories.entries(), []);
  });
});
