import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { createMemoryStore, type OrderedStore } from "@meridian/keyvalue";
import { createSystemClock } from "@meridian/runtime";
import { recordV1 } from "@meridian/wire";
import type { Catalog, Change } from "./catalog.ts";
import { hlcTime } from "./hlc.ts";
import { linkKey, registerName, subjectOf } from "./keys.ts";
import { encodeRecord } from "./merge.ts";
import { Pins } from "./pins.ts";
import { createManualClock, createRecordingLogger, digestFor, manifestOf } from "./simulated-site.ts";
import { openTestSite, until } from "./test-site.ts";

const REPOSITORY = "app";
const LAYER = digestFor("layer");
const FOREVER = 3_600_000;

const link: Change = { kind: "link", repository: REPOSITORY, digest: LAYER, size: 10 };
const holder: Change = { kind: "blob-at-node", digest: LAYER, node: "eu/site", size: 10, state: "present" };
const unlink: Change = { kind: "delete-link", repository: REPOSITORY, digest: LAYER };
const isLinked = (catalog: Catalog): boolean => catalog.blob(REPOSITORY, LAYER) !== undefined;

test("what is pinned is linked again by the time that its deletion is answered; what is not stays deleted", async () => {
  await using site = await openTestSite();
  const catalog = await site.open();
  await catalog.commit([link]);
  await catalog.commit([unlink]);
  assert.equal(isLinked(catalog), false);
  await catalog.commit([link]);
  catalog.pins.pin(REPOSITORY, LAYER, 10);
  await catalog.commit([unlink]);
  assert.deepEqual(catalog.blob(REPOSITORY, LAYER), { digest: LAYER, size: 10, site: "eu" });
  catalog.pins.unpin(REPOSITORY, LAYER);
  await catalog.commit([unlink]);
  assert.equal(isLinked(catalog), false);
});

test("a layer that only a manifest linked is linked by itself when the manifest goes while it is pinned", async () => {
  await using site = await openTestSite();
  const catalog = await site.open();
  const manifest = digestFor("manifest");
  await catalog.commit([
    { kind: "manifest", repository: REPOSITORY, digest: manifest, value: manifestOf({ layers: ["layer", "other"] }) },
  ]);
  catalog.pins.pin(REPOSITORY, LAYER, 10);
  await catalog.commit([{ kind: "delete-manifest", repository: REPOSITORY, digest: manifest, who: "alice" }]);
  assert.equal(isLinked(catalog), true);
  assert.equal(catalog.blob(REPOSITORY, digestFor("other")), undefined);
  assert.equal(catalog.pins.isPinned(LAYER), true);
  assert.equal(catalog.pins.isPinned(LAYER, "other"), false);
});

test("another site's deletion does not count as folded before what is pinned is linked again", async () => {
  await using site = await openTestSite();
  const catalog = await site.open();
  const from = await site.logs.open("FROM_us");
  const { now } = createSystemClock();
  const put = create(recordV1.PutSchema, {
    hlc: { time: hlcTime(now()), site: "us", writer: "w" },
    value: { case: "link", value: { size: 10n } },
  });
  const linked = create(recordV1.RecordSchema, { format: 1, key: linkKey(REPOSITORY, LAYER), put });
  const deleted = { ...linked, deleted: [put.hlc!] };
  const append = (record: recordV1.Record, sequence: number): Promise<number> => {
    const subject = subjectOf("us", registerName(record.key)!);
    const origin = { incarnation: { created: 7n, id: "us-1" }, sequence };
    return from.append({ subject, payload: encodeRecord(record), origin });
  };
  await append(linked, 1);
  await catalog.lookForStreams();
  await until(() => isLinked(catalog));
  catalog.pins.pin(REPOSITORY, LAYER, 10);
  const seen: string[] = [];
  using _events = catalog.subscribe((events) => {
    for (const event of events) if (event.kind === "link") seen.push(`${event.visible} at ${reached(catalog)}`);
  });
  await append(deleted, 2);
  await until(() => reached(catalog) === 2);
  assert.deepEqual(seen, ["false at 1", "true at 1"]);
  assert.equal(isLinked(catalog), true);
});

const reached = (catalog: Catalog): number | undefined => catalog.foldedPosition("us")?.sequence;

test("pins outlive the process: what was unlinked while it was away is linked again", async () => {
  await using site = await openTestSite();
  const [view, store] = [createMemoryStore(), createMemoryStore()];
  const pins = { store, forMs: FOREVER };
  const before = await site.open({ pins, view });
  await before.commit([link, holder]);
  before.pins.pin(REPOSITORY, LAYER, 10);
  await before[Symbol.asyncDispose]();
  const away = await site.open();
  await until(() => away.ready);
  await away.commit([unlink]);
  assert.equal(isLinked(away), false);
  await away[Symbol.asyncDispose]();
  const after = await site.open({ pins, view });
  await until(() => isLinked(after));
  await after.pins.relinked();
});

test("a process that died between a deletion's fold and the new link makes up for it before its view counts", async () => {
  await using site = await openTestSite();
  const [view, store] = [createMemoryStore(), createMemoryStore()];
  const pins = { store, forMs: FOREVER };
  const first = await site.open({ view });
  await first.commit([link, holder]);
  await first.commit([unlink]);
  await first[Symbol.asyncDispose]();
  // The pin was in the store, and the view had folded the deletion.
  await using left = new Pins({ store, forMs: FOREVER, clock: createSystemClock(), log: createRecordingLogger() });
  left.pin({ repository: REPOSITORY, digest: LAYER, size: 10 });
  await left[Symbol.asyncDispose]();
  const second = await site.open({ view, pins });
  await until(() => second.foldedPosition("eu") !== undefined);
  assert.equal(isLinked(second), true);
});

test("a view that is made again keeps what is pinned linked", async () => {
  await using site = await openTestSite();
  const catalog = await site.open();
  await catalog.commit([link, holder]);
  catalog.pins.pin(REPOSITORY, LAYER, 10);
  const sibling = await site.open({ writer: "other" });
  await until(() => sibling.ready);
  await catalog.rebuild();
  await sibling.commit([unlink]);
  await until(() => catalog.ready && isLinked(catalog));
});

test("pins of one turn are one write, are not written again for a while, and end", async () => {
  const clock = createManualClock();
  let writes = 0;
  const memory = createMemoryStore();
  const store: OrderedStore = {
    get: (key) => memory.get(key),
    range: (range) => memory.range(range),
    flushed: () => memory.flushed(),
    clear: () => memory.clear(),
    transaction: (change) => {
      writes += 1;
      return memory.transaction(change);
    },
    [Symbol.asyncDispose]: () => memory[Symbol.asyncDispose](),
  };
  const pins = new Pins({ store, forMs: 1_600, clock, log: createRecordingLogger() });
  const names = Array.from({ length: 3_000 }, (_, index) => digestFor(`blob ${index}`));
  const pinAll = async (): Promise<void> => {
    for (const digest of names) pins.pin({ repository: REPOSITORY, digest, size: 1 });
    await pins[Symbol.asyncDispose]();
  };
  await pinAll();
  assert.equal(writes, 1);
  clock.advance(100);
  await pinAll();
  assert.equal(writes, 1, "still good for the whole term");
  clock.advance(1);
  await pinAll();
  assert.equal(writes, 2);
  clock.advance(1_699);
  assert.ok(names.every((digest) => pins.has(digest)));
  clock.advance(1);
  assert.ok(names.every((digest) => !pins.has(digest)));
  assert.equal([...pins.pages()].flat().length, 0);
  await pins[Symbol.asyncDispose]();
  assert.equal([...memory.range({})].length, 0, "what has ended is removed");
});

test("a pin counts before it is in the store, and while the store takes nothing", async () => {
  const memory = createMemoryStore();
  let full = true;
  const store: OrderedStore = {
    get: (key) => memory.get(key),
    range: (range) => memory.range(range),
    flushed: () => memory.flushed(),
    clear: () => memory.clear(),
    transaction: (change) => (full ? Promise.reject(new Error("disk full")) : memory.transaction(change)),
    [Symbol.asyncDispose]: () => memory[Symbol.asyncDispose](),
  };
  const pins = new Pins({ store, forMs: FOREVER, clock: createManualClock(), log: createRecordingLogger() });
  pins.pin({ repository: REPOSITORY, digest: LAYER, size: 1 });
  assert.equal(pins.has(LAYER), true);
  await pins[Symbol.asyncDispose]();
  assert.equal(pins.has(LAYER), true);
  full = false;
  pins.pin({ repository: "other", digest: LAYER, size: 1 });
  await pins[Symbol.asyncDispose]();
  assert.equal([...memory.range({})].length, 2);
});
