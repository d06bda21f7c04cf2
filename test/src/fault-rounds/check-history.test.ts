import assert from "node:assert/strict";
import { test } from "node:test";
import { checkHistory } from "./check-history.ts";
import type { HistoryEntry, Observation, Operation } from "./history.ts";

const SITES = ["eu", "us"];
const beginning: HistoryEntry = { kind: "beginning", seed: 1, driver: "embedded", sites: SITES, maxSkewMs: 0 };

let clock = 0;

/** An operation after all before it; acknowledged unless told otherwise. */
function operation(action: Operation["action"], parts: Partial<Operation>): Operation {
  const startedAt = ++clock;
  return {
    ...{ kind: "operation", round: 1, action, site: "eu", repository: "app", startedAt, endedAt: ++clock },
    ...{ outcome: "acknowledged", detail: "" },
    ...parts,
  };
}

const push = (tag: string, digest: string, parts: Partial<Operation> = {}): Operation =>
  operation("push", { tag, digest, ...parts });

/** What every site shows when all is well; `tags` of app. */
function observation(tags: Readonly<Record<string, string>>, parts: Partial<Observation> = {}): Observation {
  const images = Object.values(tags).flatMap((digest) =>
    SITES.map((site) => ({ site, repository: "app", digest, status: 200, detail: "" })),
  );
  const shown = SITES.map((site) => ({ site, repository: "app", tags }));
  const receipts = Object.keys(tags).flatMap((tag) =>
    SITES.map((site) => ({ repository: "app", tag, site, state: "complete", servedBy: `${site}/site` })),
  );
  return { kind: "observation", round: 1, tags: shown, images, receipts, histories: [], comparisons: [], ...parts };
}

const rules = (...entries: HistoryEntry[]): string[] => checkHistory([beginning, ...entries]).map(({ rule }) => rule);

test("a history in which all went well breaks nothing", () => {
  const entries = [
    push("v1", "a"),
    operation("pull-tag", { tag: "v1", digest: "a" }),
    push("v1", "b", { site: "us" }),
    operation("pull-tag", { tag: "v1", digest: "b" }),
    push("v2", "c", { outcome: "unknown" }),
    operation("delete-tag", { tag: "v1", seen: "b", site: "us" }),
    push("v3", "d"),
  ];
  const histories = [{ repository: "app", tag: "v1", digests: ["a", "b"] }];
  assert.deepEqual(rules(...entries, observation({ v3: "d" }, { histories })), []);
  assert.deepEqual(rules(...entries, observation({ v2: "c", v3: "d" }, { histories })), []);
});

test("an acknowledged tag that is gone, or lost to an earlier put", () => {
  assert.deepEqual(rules(push("v1", "a"), observation({})), ["nothing lost", "nothing lost"]);
  assert.deepEqual(rules(push("v1", "a"), push("v1", "b"), observation({ v1: "a" })), [
    "the later put wins",
    "the later put wins",
  ]);
});

test("a deleted tag that is back, at one site or at all", () => {
  const entries = [push("v1", "a"), operation("delete-tag", { tag: "v1", seen: "a", site: "us" })];
  assert.deepEqual(rules(...entries, observation({ v1: "a" })), [
    "nothing back from the dead",
    "nothing back from the dead",
  ]);
  const tags: Observation["tags"] = [
    { site: "eu", repository: "app", tags: {} },
    { site: "us", repository: "app", tags: { v1: "a" } },
  ];
  assert.deepEqual(rules(...entries, observation({}, { tags })), ["all views are equal", "nothing back from the dead"]);
});

test("a push that the deleter had not seen lives: its loss is one", () => {
  const entries = [
    push("v1", "a"),
    operation("delete-tag", { tag: "v1", seen: "a", startedAt: 100, endedAt: 101 }),
    push("v1", "b", { site: "us", startedAt: 110, endedAt: 111 }),
  ];
  assert.deepEqual(rules(...entries, observation({})), ["nothing lost", "nothing lost"]);
});

test("an image that one site cannot give out whole, and one that was deleted by digest and is still there", () => {
  const images = [
    { site: "eu", repository: "app", digest: "a", status: 200, detail: "" },
    { site: "us", repository: "app", digest: "a", status: 503, detail: "no holder" },
  ];
  const pushed = push("v1", "a");
  assert.deepEqual(rules(pushed, observation({ v1: "a" }, { images })), ["nothing lost"]);
  const gone = operation("delete-manifest", { digest: "a", tag: "v1", seen: "a" });
  assert.deepEqual(rules(pushed, gone, observation({}, { images })), [
    "nothing back from the dead",
    "nothing back from the dead",
  ]);
  const maybe = operation("delete-manifest", { digest: "a", tag: "v1", seen: "a", outcome: "unknown" });
  assert.deepEqual(rules(pushed, maybe, observation({}, { images })), []);
});

test("a loser of which the history does not tell", () => {
  const histories = [{ repository: "app", tag: "v1", digests: ["b"] }];
  const entries = [push("v1", "a"), push("v1", "b", { site: "us" })];
  assert.deepEqual(rules(...entries, observation({ v1: "b" }, { histories })), ["no silent loser"]);
});

test("views that differ by diff, and a receipt that is not true", () => {
  const comparisons = [{ sites: "eu us", words: ["tag app:v1: …"] }];
  assert.deepEqual(rules(push("v1", "a"), observation({ v1: "a" }, { comparisons })), ["all views are equal"]);
  const receipt = { repository: "app", tag: "v1", site: "us", state: "complete", servedBy: "eu/site" };
  assert.deepEqual(rules(push("v1", "a"), observation({ v1: "a" }, { receipts: [receipt] })), ["receipts are true"]);
  const late = { ...receipt, state: "blobs", servedBy: "us/site" };
  assert.deepEqual(rules(push("v1", "a"), observation({ v1: "a" }, { receipts: [late] })), ["receipts are true"]);
});

test("wrong bytes, and a manifest that is refused although its blobs were taken", () => {
  assert.deepEqual(rules(operation("pull-digest", { digest: "a", outcome: "wrong" })), ["right bytes"]);
  assert.deepEqual(rules(push("v1", "a", { outcome: "refused" })), ["acknowledged blobs can be named"]);
});

test("reads that show what was before a push of the same site, nothing, or what nobody put", () => {
  const entries = [push("v1", "a"), push("v1", "b")];
  const pull = (parts: Partial<Operation>) => operation("pull-tag", { tag: "v1", ...parts });
  const end = observation({ v1: "b" });
  assert.deepEqual(rules(...entries, pull({ digest: "a" }), end), ["reads its writes"]);
  assert.deepEqual(rules(...entries, pull({ digest: "a", site: "us" }), end), []);
  assert.deepEqual(rules(...entries, pull({ digest: "z" }), end), ["reads its writes"]);
  assert.deepEqual(rules(...entries, pull({ outcome: "absent" }), end), ["reads its writes"]);
  assert.deepEqual(rules(...entries, operation("pull-digest", { digest: "a", outcome: "absent" }), end), [
    "never unknown",
  ]);
});

test("a tag that nobody ever wrote", () => {
  assert.deepEqual(rules(push("v1", "a"), observation({ v1: "a", v9: "a" })), [
    "nothing that nobody put",
    "nothing that nobody put",
  ]);
});

test("with wrong clocks writes close to each other may have happened in either order, and no others", () => {
  const skewed: HistoryEntry = { kind: "beginning", seed: 1, driver: "embedded", sites: SITES, maxSkewMs: 1_000 };
  const [first, close, far] = [
    push("v1", "a", { startedAt: 0, endedAt: 10 }),
    push("v1", "b", { site: "us", startedAt: 1_500, endedAt: 1_510 }),
    push("v1", "b", { site: "us", startedAt: 2_500, endedAt: 2_510 }),
  ];
  assert.deepEqual(checkHistory([skewed, first, close, observation({ v1: "a" })]), []);
  assert.equal(checkHistory([skewed, first, far, observation({ v1: "a" })]).length, 2);
});
