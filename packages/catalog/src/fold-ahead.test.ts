import assert from "node:assert/strict";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { type EventLog, openEmbeddedLogs } from "@meridian/eventlog";
import { createMemoryStore } from "@meridian/keyvalue";
import { createManualTime, systemRandom, systemTimers } from "@meridian/runtime";
import { recordV1 } from "@meridian/wire";
import { readFoldCursor } from "./fold-cursor.ts";
import { hlcTime } from "./hlc.ts";
import { registerName, subjectOf, tagKey } from "./keys.ts";
import { encodeRecord } from "./merge.ts";
import { openCatalog } from "./open-catalog.ts";
import { createRecordingLogger, digestFor } from "./simulated-site.ts";
import { until } from "./test-site.ts";
import { formatVersion } from "./version-token.ts";
import { toWireDigest } from "./wire-digest.ts";

const incarnation = { created: 7n, id: "us-1" };

function appendTag(log: EventLog, name: string, sequence: number): Promise<number> {
  const value = create(recordV1.TagValueSchema, { digest: toWireDigest(digestFor(name)), mediaType: "m", size: 1n });
  const hlc = { time: hlcTime(Date.now() - 1_000 + sequence), site: "us", writer: "w" };
  const put = create(recordV1.PutSchema, { hlc, value: { case: "tag", value } });
  const record = create(recordV1.RecordSchema, { format: 1, key: tagKey("app", name), put });
  const entry = { subject: subjectOf("us", registerName(record.key)!), payload: encodeRecord(record) };
  const origin = { incarnation, sequence };
  return log.append({ ...entry, origin }, { expectedLastSequence: sequence - 1 });
}

test("a peer's record is shown before the copy has it on disk; a machine that goes down loses no record for good", async (context) => {
  const path = await mkdtemp(join(tmpdir(), "catalog-ahead-"));
  context.after(() => rm(path, { recursive: true, force: true }));
  const time = createManualTime(Date.now());
  const stores = { view: createMemoryStore(), outbox: createMemoryStore() };
  const open = async (folder: string) => {
    const stack = new AsyncDisposableStack();
    const common = { site: "eu", writer: "eu/site", random: systemRandom };
    // The log's clock stands still: it goes on waiting for more entries to sync together.
    const logs = stack.use(await openEmbeddedLogs({ ...common, path: join(path, folder), ...time }));
    const log = createRecordingLogger();
    const live = { clock: { now: () => Date.now(), monotonic: () => performance.now() }, timers: systemTimers };
    const catalog = stack.use(
      await openCatalog({ ...common, writer: "site", serving: true, alone: true, logs, ...stores, ...live, log }),
    );
    return { logs, log, catalog, close: () => stack.disposeAsync() };
  };
  const version = (sequence: number): string => formatVersion(new Map([["us", { incarnation, sequence }]]));

  const before = await open("log");
  const from = await before.logs.open("FROM_us");
  await appendTag(from, "a", 1);
  await before.catalog.lookForStreams();
  await before.catalog.reached(version(1), AbortSignal.timeout(5_000));
  const unstored = appendTag(from, "b", 2);
  await before.catalog.reached(version(2), AbortSignal.timeout(5_000));
  assert.equal(before.catalog.tag("app", "b")?.digest, digestFor("b"));
  assert.equal((await from.head()).sequence, 1, "it is shown, and not stored");
  await assert.rejects(before.catalog.stored(AbortSignal.timeout(20)), { kind: "unavailable" });
  // What the machine finds when it comes up again; the view survived, as after a kill of the process.
  await cp(join(path, "log"), join(path, "found"), { recursive: true });
  await time.advance(100);
  await unstored;
  await before.catalog.stored(AbortSignal.timeout(5_000));
  await before.close();

  const later = await open("found");
  const found = await later.logs.open("FROM_us");
  await until(() => later.catalog.ready);
  assert.equal((await found.head()).sequence, 1);
  await appendTag(found, "b", 2);
  await later.catalog.reached(version(2), AbortSignal.timeout(5_000));
  await time.advance(100);
  assert.equal(later.catalog.tag("app", "b")?.digest, digestFor("b"));
  await later.close();
});

test("what was shown ahead is where the fold goes on from, once it is stored", async (context) => {
  const path = await mkdtemp(join(tmpdir(), "catalog-ahead-"));
  context.after(() => rm(path, { recursive: true, force: true }));
  const time = createManualTime(Date.now());
  const stores = { view: createMemoryStore(), outbox: createMemoryStore() };
  const common = { site: "eu", writer: "eu/site", random: systemRandom };
  await using logs = await openEmbeddedLogs({ ...common, path, ...time });
  const options = { ...common, writer: "site", serving: true, alone: true, logs, ...stores, timers: systemTimers };
  const clock = { now: () => Date.now(), monotonic: () => performance.now() };
  const from = await logs.open("FROM_us");
  {
    await using catalog = await openCatalog({ ...options, clock, log: createRecordingLogger() });
    await appendTag(from, "a", 1);
    const stored = Promise.all([appendTag(from, "b", 2), appendTag(from, "c", 3)]);
    await until(() => catalog.foldedPosition("us")?.sequence === 3);
    await time.advance(100);
    await stored;
    await until(() => readFoldCursor(stores.view, "FROM_us")?.reached?.sequence === 3);
  }
  const log = createRecordingLogger();
  await using catalog = await openCatalog({ ...options, clock, log });
  await until(() => catalog.ready);
  assert.deepEqual(catalog.foldedPosition("us"), { incarnation: "us-1", sequence: 3 });
  assert.deepEqual(log.lines, []);
});

test("a copy that is dropped keeps nobody waiting for what was only shown of it", async (context) => {
  const path = await mkdtemp(join(tmpdir(), "catalog-ahead-"));
  context.after(() => rm(path, { recursive: true, force: true }));
  const time = createManualTime(Date.now());
  const stores = { view: createMemoryStore(), outbox: createMemoryStore() };
  const common = { site: "eu", writer: "eu/site", random: systemRandom };
  await using logs = await openEmbeddedLogs({ ...common, path, ...time });
  const options = { ...common, writer: "site", serving: true, alone: true, logs, ...stores, timers: systemTimers };
  const clock = { now: () => Date.now(), monotonic: () => performance.now() };
  const from = await logs.open("FROM_us");
  await using catalog = await openCatalog({ ...options, clock, log: createRecordingLogger() });
  await appendTag(from, "a", 1);
  await until(() => catalog.foldedPosition("us")?.sequence === 1);
  const unstored = assert.rejects(appendTag(from, "b", 2), { kind: "unavailable" });
  await until(() => catalog.foldedPosition("us")?.sequence === 2);
  const waiting = assert.rejects(catalog.stored(AbortSignal.timeout(60_000)), /is being read again/);
  await logs.drop("FROM_us");
  await waiting;
  await catalog.stored(AbortSignal.timeout(5_000));
  await time.advance(100);
  await unstored;
});
