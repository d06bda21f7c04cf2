import assert from "node:assert/strict";
import { test } from "node:test";
import { createMemoryStore } from "@meridian/keyvalue";
import { createSystemClock } from "@meridian/runtime";
import type { Catalog, Change } from "./catalog.ts";
import { ALL_REGISTERS } from "./comparable.ts";
import { hlcTime } from "./hlc.ts";
import { digestFor } from "./simulated-site.ts";
import { openTestSite } from "./test-site.ts";

const REPOSITORY = "app";
const { now } = createSystemClock();
const SIGNAL = AbortSignal.timeout(30_000);

const link = (name: string): Change => ({ kind: "link", repository: REPOSITORY, digest: digestFor(name), size: 10 });
const unlink = (name: string): Change => ({ kind: "delete-link", repository: REPOSITORY, digest: digestFor(name) });
const keyOf = (name: string): string => `rl ${REPOSITORY} ${digestFor(name)}`;

async function keys({ comparable }: Catalog, before: bigint): Promise<string[]> {
  const found: string[] = [];
  for await (const batch of comparable.rows(before)(ALL_REGISTERS)) found.push(...batch.map(({ key }) => key));
  return found;
}

test("deletions that others may have dropped count for nothing, younger ones do", async () => {
  await using site = await openTestSite();
  const catalog = await site.open();
  await catalog.commit([link("gone"), link("lives")]);
  await catalog.commit([unlink("gone")]);
  assert.deepEqual(await keys(catalog, hlcTime(now() + 1_000)), [keyOf("lives")]);
  assert.deepEqual((await keys(catalog, hlcTime(now() - 3_600_000))).sort(), [keyOf("gone"), keyOf("lives")].sort());
});

test("a register that its view has lost comes back from the log, with its place there: it can be written again", async () => {
  await using site = await openTestSite();
  const view = createMemoryStore();
  const catalog = await site.open({ view });
  await catalog.commit([link("lost")]);
  await view.transaction((tx) => tx.delete(keyOf("lost")));
  assert.deepEqual(await catalog.comparable.read([keyOf("lost")]), [{ record: undefined, logged: false }]);
  assert.equal(await catalog.comparable.refold([keyOf("lost"), keyOf("never")]), 1);
  assert.equal((await catalog.comparable.read([keyOf("lost")]))[0]?.logged, true);
  await catalog.commit([unlink("lost")]);
  assert.equal(catalog.blob(REPOSITORY, digestFor("lost")), undefined);
});

test("what no log holds is not published, what one holds is, once more", async () => {
  await using site = await openTestSite();
  await using other = await openTestSite("us");
  const [catalog, peer] = [await site.open(), await other.open()];
  await catalog.commit([link("logged")]);
  await peer.commit([link("answered")]);
  await catalog.learn(peer.recordsFor(REPOSITORY, digestFor("answered")));
  assert.notEqual(catalog.blob(REPOSITORY, digestFor("answered")), undefined);
  const log = await site.logs.open("META_eu");
  const before = (await log.head()).sequence;
  assert.equal(await catalog.comparable.publish([keyOf("answered"), keyOf("logged"), keyOf("never")], SIGNAL), 1);
  assert.equal((await log.head()).sequence, before + 1);
});

test("what is no register's key is refused", async () => {
  await using site = await openTestSite();
  const { comparable } = await site.open();
  for (const key of ["", "t app v1", "rx app", "r"]) await assert.rejects(comparable.read([key]), /no register/);
});
