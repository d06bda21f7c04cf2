import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { EventLogs } from "@meridian/eventlog";
import { createSystemClock, systemTimers } from "@meridian/runtime";
import type { Change } from "./catalog.ts";
import { HistoryKeeper } from "./history-keeper.ts";
import type { OpenCatalog } from "./open-catalog.ts";
import { createRecordingLogger, digestFor, manifestOf } from "./simulated-site.ts";
import { CONFLICT_SUBJECT } from "./tag-conflict.ts";
import type { HistoryKept, TagWrite } from "./tag-history.ts";
import { openTestSite, type TestSite, until } from "./test-site.ts";

const APP = "team/app";
const put = (name: string, who = "alice", more: { restored?: boolean } = {}): Change => {
  return { kind: "tag", repository: APP, tag: "v1", digest: digestFor(name), mediaType: "m", size: 7, who, ...more };
};
const manifest = (name: string): Change => {
  return { kind: "manifest", repository: APP, digest: digestFor(name), value: manifestOf({}) };
};
const remove: Change = { kind: "delete-tag", repository: APP, tag: "v1", who: "carol" };

/** Every entry of a log so far. */
async function entriesOf(logs: EventLogs, stream: string) {
  const log = await logs.open(stream);
  const { sequence } = await log.head();
  if (sequence === 0) return [];
  const stop = new AbortController();
  const found = [];
  for await (const { entries } of log.tail(0, { signal: stop.signal })) {
    found.push(...entries);
    if ((found.at(-1)?.sequence ?? 0) >= sequence) stop.abort();
  }
  return found;
}

/** What a link does: what `from` has written and `to` lacks goes into the copy there; resolves once it is folded. */
async function copy(
  from: { name: string; site: TestSite },
  to: { site: TestSite; catalog: OpenCatalog },
): Promise<void> {
  const target = await to.site.logs.open(`FROM_${from.name}`);
  const known = (await entriesOf(to.site.logs, `FROM_${from.name}`)).at(-1)?.origin?.sequence ?? 0;
  const source = await from.site.logs.open(`META_${from.name}`);
  for (const { sequence, subject, payload } of await entriesOf(from.site.logs, `META_${from.name}`))
    if (sequence > known) await target.append({ subject, payload, origin: await source.cursorAt(sequence) });
  await to.catalog.lookForStreams();
  const last = (await entriesOf(from.site.logs, `META_${from.name}`)).findLast(
    ({ subject }) => !/session|history/.test(subject),
  );
  await until(() => (to.catalog.foldedPosition(from.name)?.sequence ?? 0) >= (last?.sequence ?? 0));
}

async function twoSites(kept?: HistoryKept) {
  const stack = new AsyncDisposableStack();
  const eu = stack.use(await openTestSite("eu"));
  const us = stack.use(await openTestSite("us"));
  const catalogs = { eu: await eu.open({ history: kept }), us: await us.open({ site: "us", history: kept }) };
  const at = { eu: { name: "eu", site: eu, catalog: catalogs.eu }, us: { name: "us", site: us, catalog: catalogs.us } };
  return {
    ...at,
    async link() {
      await copy(at.eu, at.us);
      await copy(at.us, at.eu);
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

const told = ({ who, site, action, digest, from, lostTo }: TagWrite) =>
  [who, site, action, digest, from, lostTo?.digest] as const;
const [m1, m2, m3] = [digestFor("m1"), digestFor("m2"), digestFor("m3")];

describe("the history of a tag", () => {
  test("is that of all sites together: who, when, where, from what to what, deleted and restored", async () => {
    await using sites = await twoSites();
    const began = Date.now();
    await sites.eu.catalog.commit([put("m1", "alice")]);
    await sites.link();
    await sites.us.catalog.commit([put("m2", "bob")]);
    await sites.link();
    await sites.eu.catalog.commit([remove]);
    await sites.link();
    await sites.us.catalog.commit([put("m1", "dave", { restored: true })]);
    await sites.link();
    for (const { catalog } of [sites.eu, sites.us]) {
      const history = await catalog.tagHistory(APP, "v1");
      assert.deepEqual(history.map(told), [
        ["dave", "us", "restored", m1, undefined, undefined],
        ["carol", "eu", "deleted", undefined, m2, undefined],
        ["bob", "us", "put", m2, m1, undefined],
        ["alice", "eu", "put", m1, undefined, undefined],
      ]);
      for (const { atMs } of history) assert.ok(atMs >= began - 1 && atMs <= Date.now() + 1);
      assert.deepEqual(await catalog.tagHistory(APP, "v2"), []);
    }
  });

  test("names the loser of two pushes of which neither saw the other, alike at every site", async () => {
    await using sites = await twoSites();
    await sites.eu.catalog.commit([manifest("m1"), put("m1", "alice")]);
    await sites.us.catalog.commit([manifest("m2"), put("m2", "bob")]);
    await sites.us.catalog.commit([manifest("m3"), put("m3", "bob")]);
    await sites.link();
    for (const { catalog } of [sites.eu, sites.us]) {
      assert.equal(catalog.tag(APP, "v1")?.digest, m3, "the later wins");
      assert.deepEqual((await catalog.tagHistory(APP, "v1")).map(told), [
        ["bob", "us", "put", m3, m2, undefined],
        ["bob", "us", "put", m2, undefined, undefined],
        ["alice", "eu", "put", m1, undefined, m2],
      ]);
      assert.ok(catalog.manifest(APP, m1), "the loser's manifest can be pulled by its digest");
    }
    await sites.us.catalog.commit([put("m1", "bob")]);
    await sites.link();
    assert.equal((await sites.eu.catalog.tagHistory(APP, "v1"))[0]?.lostTo, undefined);
  });

  test("knows no loser where the writer had seen what it replaced, or both name the same", async () => {
    await using sites = await twoSites();
    await sites.eu.catalog.commit([put("m1")]);
    await sites.us.catalog.commit([put("m1")]);
    await sites.link();
    await sites.us.catalog.commit([remove]);
    await sites.us.catalog.commit([put("m2")]);
    await sites.link();
    const history = await sites.eu.catalog.tagHistory(APP, "v1");
    assert.equal(history.length, 4);
    assert.deepEqual(
      history.flatMap(({ lostTo }) => lostTo ?? []),
      [],
    );
  });

  test("a conflict is told at each site, with the names of both writes", async () => {
    await using sites = await twoSites();
    const stop = new AbortController();
    const events: Record<string, unknown>[] = [];
    const listening = (async () => {
      for await (const message of sites.eu.site.logs.bulletin.subscribe(CONFLICT_SUBJECT, { signal: stop.signal }))
        events.push(JSON.parse(Buffer.from(message).toString()));
    })();
    await sites.eu.catalog.commit([put("m1")]);
    await sites.us.catalog.commit([put("m2")]);
    await sites.link();
    await until(() => events.length > 0);
    stop.abort();
    await listening;
    const [newest, oldest] = await sites.eu.catalog.tagHistory(APP, "v1");
    assert.equal(events.length, 1);
    assert.deepEqual(events[0], {
      event: "tag.conflict",
      id: `${newest?.id}-${oldest?.id}`,
      repository: APP,
      tag: "v1",
      winner: m2,
      winnerSite: "us",
      loser: m1,
      loserSite: "eu",
      site: "eu",
    });
  });

  test("is kept as long and as far back as wanted; holders remove the rest from their own log and their copies", async () => {
    const kept = { maxAgeMs: 3_600_000, maxWrites: 3 };
    await using sites = await twoSites(kept);
    for (const name of ["m1", "m2", "m3", "m1", "m2"]) await sites.eu.catalog.commit([put(name)]);
    await sites.eu.catalog.commit([{ kind: "link", repository: APP, digest: digestFor("l"), size: 1 }]);
    await sites.link();
    assert.deepEqual(
      (await sites.us.catalog.tagHistory(APP, "v1")).map(({ digest }) => digest),
      [m2, m1, m3],
    );
    const lines = async (site: TestSite, stream: string) =>
      (await entriesOf(site.logs, stream)).filter(({ subject }) => subject.includes(".history."));
    for (const [site, stream] of [
      [sites.eu.site, "META_eu"],
      [sites.us.site, "FROM_eu"],
    ] as const) {
      const all = await lines(site, stream);
      assert.equal(all.length, 5);
      const options = { logs: site.logs, kept, timers: systemTimers, log: createRecordingLogger() };
      await using keeper = new HistoryKeeper({ ...options, clock: createSystemClock() });
      keeper.noted(stream, all[0]!.subject);
      await keeper.thin();
      assert.deepEqual(
        (await lines(site, stream)).map(({ sequence }) => sequence),
        all.slice(2).map(({ sequence }) => sequence),
      );
      const later = { now: () => Date.now() + 7_200_000, monotonic: () => performance.now() };
      await using lateKeeper = new HistoryKeeper({ ...options, clock: later });
      await lateKeeper.expire();
      assert.deepEqual(await lines(site, stream), []);
    }
    await sites.link();
    assert.equal(sites.us.catalog.tag(APP, "v1")?.digest, m2, "what the tag names does not depend on its history");
    await sites.eu.catalog.commit([put("m3")]);
    await sites.link();
    assert.equal(sites.us.catalog.tag(APP, "v1")?.digest, m3, "copies go on");
  });

  test("its keeper notes what is written, and removes what exceeds by itself", async () => {
    await using eu = await openTestSite("eu");
    const kept = { maxAgeMs: 3_600_000, maxWrites: 2 };
    const ticks: (() => void)[] = [];
    const timers = {
      ...systemTimers,
      every(ms: number, run: () => void) {
        if (ms === 60_000) ticks.push(run);
        return systemTimers.every(ms, run);
      },
    };
    const catalog = await eu.open({ history: kept, tidiesHistory: true, timers });
    for (const name of ["m1", "m2", "m3", "m1"]) await catalog.commit([put(name)]);
    await catalog.commit([{ kind: "link", repository: APP, digest: digestFor("l"), size: 1 }]);
    ticks[0]!();
    const log = await eu.logs.open("META_eu");
    const count = async () => (await log.under("m.eu.history.", { limit: 100 })).length;
    const deadline = performance.now() + 5_000;
    while ((await count()) !== 2 && performance.now() < deadline) await systemTimers.sleep(5);
    assert.equal(await count(), 2);
  });
});
