import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { type EventLog, encodeLife, type Incarnation, lifeSubject } from "@meridian/eventlog";
import { createMemoryStore, type OrderedStore } from "@meridian/keyvalue";
import { createSystemClock } from "@meridian/runtime";
import { recordV1 } from "@meridian/wire";
import type { Catalog, Change } from "./catalog.ts";
import { hlcTime } from "./hlc.ts";
import { linkKey, registerName, subjectOf, tagKey } from "./keys.ts";
import { encodeRecord } from "./merge.ts";
import { createRecordingLogger, digestFor, manifestOf } from "./simulated-site.ts";
import { openTestSite, until } from "./test-site.ts";
import { formatVersion } from "./version-token.ts";
import { toWireDigest } from "./wire-digest.ts";

const REPOSITORY = "app";

function tag(name: string, manifest: string): Change {
  const digest = digestFor(manifest);
  return { kind: "tag", repository: REPOSITORY, tag: name, digest, mediaType: "m", size: 100, who: "alice" };
}

const named = (catalog: Catalog, name: string): string | undefined => catalog.tag(REPOSITORY, name)?.digest;

function tagRecord(name: string, manifest: string, ms: number, site = "us"): recordV1.Record {
  const value = create(recordV1.TagValueSchema, {
    digest: toWireDigest(digestFor(manifest)),
    mediaType: "m",
    size: 1n,
  });
  const put = create(recordV1.PutSchema, {
    hlc: { time: hlcTime(ms), site, writer: "w" },
    value: { case: "tag", value },
  });
  return create(recordV1.RecordSchema, { format: 1, key: tagKey(REPOSITORY, name), put });
}

/** Appends a record to the copy of a peer's log, as it stood at `sequence` there. */
function copy(
  log: EventLog,
  record: recordV1.Record,
  sequence: number,
  { incarnation = { created: 7n, id: "us-1" }, traceparent }: { incarnation?: Incarnation; traceparent?: string } = {},
) {
  const name = registerName(record.key);
  assert.ok(name !== undefined);
  const subject = subjectOf("us", name);
  return log.append({ subject, payload: encodeRecord(record), origin: { incarnation, sequence }, traceparent });
}

const dump = (store: OrderedStore): string[] =>
  Array.from(store.range({}), ([key, row]) => `${key} ${Buffer.from(row).toString("hex")}`);

test("a view that was dropped and folded again is the same to the byte", async () => {
  await using site = await openTestSite();
  const view = createMemoryStore();
  const catalog = await site.open({ view });
  const from = await site.logs.open("FROM_us");
  const { now } = createSystemClock();
  for (let index = 0; index < 30; index++) {
    const value = manifestOf({ layers: [`l${index % 4}`, "shared"], children: index % 5 === 0 ? ["m1"] : [] });
    const digest = digestFor(`m${index % 12}`);
    await catalog.commit([
      { kind: "manifest", repository: REPOSITORY, digest, value },
      tag(`t${index % 7}`, `m${index % 12}`),
    ]);
    await copy(from, tagRecord(`t${index % 9}`, `m${index % 3}`, now() - 50 + index), index + 1);
  }
  await catalog.commit([{ kind: "delete-tag", repository: REPOSITORY, tag: "t3", who: "alice" }]);
  // A tag's history goes into the log after its commit was answered, and before what is committed next.
  const last = manifestOf({ layers: ["shared"] });
  await catalog.commit([{ kind: "manifest", repository: REPOSITORY, digest: digestFor("last"), value: last }]);
  await until(() => catalog.foldedPosition("us")?.sequence === 30);
  const before = dump(view);
  await catalog.rebuild();
  await until(() => catalog.ready && catalog.foldedPosition("us")?.sequence === 30);
  assert.deepEqual(dump(view), before);
  assert.ok(before.length > 50);
});

test("events name the trace that wrote a record, where the entry carries one", async () => {
  await using site = await openTestSite();
  const catalog = await site.open({ view: createMemoryStore() });
  const traces = new Map<string, string | undefined>();
  using _events = catalog.subscribe((events) => {
    for (const event of events) if (event.kind === "link") traces.set(event.digest, event.traceparent);
  });
  const link = (blob: string): recordV1.Record => {
    const hlc = { time: hlcTime(Date.now() - 5), site: "us", writer: "w" };
    const value = create(recordV1.LinkValueSchema, { size: 10n });
    const put = create(recordV1.PutSchema, { hlc, value: { case: "link", value } });
    return create(recordV1.RecordSchema, { format: 1, key: linkKey(REPOSITORY, digestFor(blob)), put });
  };
  const from = await site.logs.open("FROM_us");
  const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
  await copy(from, link("traced"), 1, { traceparent });
  await copy(from, link("plain"), 2);
  await catalog.lookForStreams();
  await until(() => traces.size === 2);
  assert.equal(traces.get(digestFor("traced")), traceparent);
  assert.equal(traces.get(digestFor("plain")), undefined);
});

test("the fold goes on where it stopped, and knows the streams that appear later", async () => {
  await using site = await openTestSite();
  const view = createMemoryStore();
  const outbox = createMemoryStore();
  {
    await using catalog = await site.open({ view, outbox });
    await catalog.commit([tag("a", "m1")]);
  }
  const catalog = await site.open({ view, outbox });
  assert.equal(named(catalog, "a"), digestFor("m1"));
  const from = await site.logs.open("FROM_us");
  await copy(from, tagRecord("b", "m2", Date.now() - 5), 41);
  await catalog.lookForStreams();
  await until(() => named(catalog, "b") === digestFor("m2"));
  assert.deepEqual(catalog.foldedPosition("us"), { incarnation: "us-1", sequence: 41 });
  const wanted = formatVersion(new Map([["us", { incarnation: { created: 7n, id: "us-1" }, sequence: 42 }]]));
  await assert.rejects(catalog.reached(wanted, AbortSignal.timeout(20)), { kind: "unavailable" });
  const waiting = catalog.reached(wanted, AbortSignal.timeout(5_000));
  await copy(from, tagRecord("c", "m2", Date.now() - 5), 42);
  await waiting;
  assert.equal(named(catalog, "c"), digestFor("m2"));
});

test("a copy that was dropped for a new incarnation is read from its start, on top of what is known", async () => {
  await using site = await openTestSite();
  const catalog = await site.open();
  const old = await site.logs.open("FROM_us");
  await copy(old, tagRecord("a", "m1", Date.now() - 10), 9);
  await catalog.lookForStreams();
  await until(() => catalog.foldedPosition("us")?.sequence === 9);
  const lost = catalog.version();
  await site.logs.drop("FROM_us");
  const incarnation = { created: 8n, id: "us-2" };
  const next = await site.logs.open("FROM_us", { incarnation });
  await copy(next, tagRecord("b", "m2", Date.now() - 5), 2, { incarnation });
  await until(() => named(catalog, "b") === digestFor("m2"));
  assert.equal(named(catalog, "a"), digestFor("m1"));
  assert.deepEqual(catalog.foldedPosition("us"), { incarnation: "us-2", sequence: 2 });
  await assert.rejects(catalog.reached(lost, AbortSignal.abort()), { kind: "unavailable" }, "us has not said yet");
  const payload = encodeLife("us", incarnation, { state: recordV1.LifeState.WHOLE });
  await next.append({ subject: lifeSubject("META_us", incarnation), payload, origin: { incarnation, sequence: 3 } });
  await assert.rejects(catalog.reached(lost, AbortSignal.timeout(1_000)), { kind: "precondition" });
});

test("an own log that was lost and made anew takes writes again, on top of what the view kept", async () => {
  await using site = await openTestSite();
  const catalog = await site.open();
  await catalog.commit([tag("a", "m1"), tag("b", "m2")]);
  const { incarnation } = catalog.foldedPosition("eu") ?? {};
  await site.logs.drop("META_eu");
  const remade = await site.logs.open("META_eu");
  assert.notEqual((await remade.head()).incarnation.id, incarnation);
  await until(() => catalog.foldedPosition("eu")?.incarnation !== incarnation);
  await catalog.commit([tag("a", "m3")]);
  assert.equal(named(catalog, "a"), digestFor("m3"));
  assert.equal(named(catalog, "b"), digestFor("m2"));
});

test("a record from the future is held with a warning, stops the positions, and is folded when its time comes", async () => {
  await using site = await openTestSite();
  const log = createRecordingLogger();
  const catalog = await site.open({ log, maxSkewMs: 500 });
  const from = await site.logs.open("FROM_us");
  await copy(from, tagRecord("now", "m1", Date.now() - 5), 1);
  await copy(from, tagRecord("later", "m2", Date.now() + 900), 2);
  await copy(from, tagRecord("also-now", "m3", Date.now() - 5), 3);
  await catalog.lookForStreams();
  await until(() => named(catalog, "also-now") !== undefined);
  assert.equal(named(catalog, "later"), undefined);
  assert.equal(catalog.foldedPosition("us")?.sequence, 1);
  assert.ok(log.lines.some((line) => line.includes("a clock is wrong")));
  await until(() => named(catalog, "later") === digestFor("m2"));
  assert.equal(catalog.foldedPosition("us")?.sequence, 3);
});

test("held records survive a restart", async () => {
  await using site = await openTestSite();
  const view = createMemoryStore();
  const outbox = createMemoryStore();
  const from = await site.logs.open("FROM_us");
  await copy(from, tagRecord("later", "m2", Date.now() + 900), 1);
  await copy(from, tagRecord("now", "m1", Date.now() - 5), 2);
  {
    await using catalog = await site.open({ view, outbox, maxSkewMs: 400 });
    await until(() => named(catalog, "now") !== undefined);
    assert.equal(named(catalog, "later"), undefined);
  }
  const catalog = await site.open({ view, outbox, maxSkewMs: 400 });
  await until(() => named(catalog, "later") === digestFor("m2"));
  assert.equal(catalog.foldedPosition("us")?.sequence, 2);
});

test("an entry that is no record is left out, and the fold goes on", async () => {
  await using site = await openTestSite();
  const log = createRecordingLogger();
  const catalog = await site.open({ log });
  const from = await site.logs.open("FROM_us");
  const origin = { incarnation: { created: 7n, id: "us-1" }, sequence: 1 };
  await from.append({ subject: "m.us.tag.aaaa.bbbb", payload: Uint8Array.of(255), origin });
  const bad = tagRecord("bad", "m1", Date.now() - 5);
  if (bad.put?.value.case === "tag" && bad.put.value.value.digest !== undefined) {
    bad.put.value.value.digest.hash = Uint8Array.of(1, 2, 3);
  }
  await copy(from, bad, 2);
  await copy(from, tagRecord("good", "m1", Date.now() - 5), 3);
  await catalog.lookForStreams();
  await until(() => named(catalog, "good") !== undefined);
  assert.equal(log.lines.length, 2);
  assert.deepEqual(catalog.tags(REPOSITORY, {}).items, ["good"]);
});

test("what other members answer is shown at once, and is published with the next write of the register", async () => {
  await using site = await openTestSite();
  const catalog = await site.open();
  const answer = tagRecord("a", "m1", Date.now() - 5);
  await catalog.learn([answer]);
  assert.equal(named(catalog, "a"), digestFor("m1"));
  await catalog.commit([{ kind: "delete-tag", repository: REPOSITORY, tag: "a", who: "alice" }]);
  await catalog.learn([answer]);
  assert.equal(named(catalog, "a"), undefined);
  const malformed = create(recordV1.RecordSchema, { format: 9 });
  await assert.rejects(catalog.learn([malformed]), { kind: "invalid" });
});

test("subscribers are told after the view shows it", async () => {
  await using site = await openTestSite();
  const catalog = await site.open();
  const told: string[] = [];
  using _subscription = catalog.subscribe((events) => {
    for (const event of events) {
      if (event.kind === "tag") assert.equal(named(catalog, event.tag), event.digest);
      if (event.kind === "link") assert.equal(catalog.blob(REPOSITORY, event.digest) !== undefined, event.visible);
      told.push(`${event.kind}${"visible" in event ? ` ${event.visible}` : ""}`);
    }
  });
  const digest = digestFor("m1");
  await catalog.commit([tag("a", "m1")]);
  await catalog.commit([{ kind: "manifest", repository: REPOSITORY, digest, value: manifestOf({ layers: ["l1"] }) }]);
  await catalog.commit([{ kind: "delete-manifest", repository: REPOSITORY, digest, who: "alice" }]);
  assert.deepEqual(told.sort(), [
    "link false",
    "link false",
    "link true",
    "link true",
    "manifest false",
    "manifest true",
    "tag",
    "tag",
  ]);
});
