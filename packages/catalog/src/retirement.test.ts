import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { createMemoryStore } from "@meridian/keyvalue";
import { createSystemClock } from "@meridian/runtime";
import { recordV1 } from "@meridian/wire";
import type { Catalog, Change } from "./catalog.ts";
import { hlcTime } from "./hlc.ts";
import { linkKey, registerName, subjectOf } from "./keys.ts";
import { encodeRecord } from "./merge.ts";
import { digestFor, manifestOf } from "./simulated-site.ts";
import { openTestSite, type TestSite, until } from "./test-site.ts";

const REPOSITORY = "app";
const { now } = createSystemClock();
/** Everything that was written up to now is old. */
const later = (): bigint => hlcTime(now() + 1_000);
const earlier = (): bigint => hlcTime(now() - 3_600_000);

const link = (name: string): Change => ({ kind: "link", repository: REPOSITORY, digest: digestFor(name), size: 10 });
const unlink = (name: string): Change => ({ kind: "delete-link", repository: REPOSITORY, digest: digestFor(name) });
const keyOf = (name: string): string => `rl ${REPOSITORY} ${digestFor(name)}`;
const subject = (name: string, site = "eu"): string =>
  subjectOf(site, { kind: "link", parts: [REPOSITORY, digestFor(name)] });

function oldDeletions({ retirement }: Catalog, before = later()): string[] {
  const found: string[] = [];
  let from: string | undefined;
  do {
    const page = retirement.oldDeletions({ ...(from !== undefined && { from }), rows: 2, before });
    found.push(...page.items);
    from = page.next;
  } while (from !== undefined);
  return found;
}

/** A record of us that has come here, alive or deleted, at a place of its log. */
async function fromUs(
  site: TestSite,
  name: string,
  { alive, sequence }: { alive: boolean; sequence: number },
): Promise<void> {
  const hlc = create(recordV1.HlcSchema, { time: hlcTime(now() - 1_000), site: "us", writer: "w" });
  const put = create(recordV1.PutSchema, { hlc, value: { case: "link", value: { size: 10n } } });
  const key = linkKey(REPOSITORY, digestFor(name));
  const record = create(recordV1.RecordSchema, { format: 1, key, put, deleted: alive ? [] : [hlc] });
  const origin = { incarnation: { created: 7n, id: "us-1" }, sequence };
  const copy = await site.logs.open("FROM_us");
  await copy.append({ subject: subjectOf("us", registerName(key)!), payload: encodeRecord(record), origin });
}

test("an old deletion leaves view, log and copies; what is new or lives does not", async () => {
  await using site = await openTestSite();
  const catalog = await site.open();
  await catalog.commit([link("gone"), link("lives")]);
  await catalog.commit([unlink("gone")]);
  await catalog.commit([link("last")]);
  const { retirement } = catalog;
  assert.deepEqual(oldDeletions(catalog, earlier()), []);
  assert.deepEqual(oldDeletions(catalog), [keyOf("gone")]);
  assert.deepEqual(await retirement.areDead([keyOf("gone"), keyOf("lives"), keyOf("never")], later()), [
    true,
    false,
    true,
  ]);
  assert.deepEqual(await retirement.areDead([keyOf("gone")], earlier()), [false]);
  await retirement.forget([keyOf("gone"), keyOf("lives")], later());
  assert.deepEqual(oldDeletions(catalog), []);
  assert.equal(await retirement.discard([keyOf("gone"), keyOf("lives")], later()), 1);
  const log = await site.logs.open("META_eu");
  assert.equal(await log.last(subject("gone")), undefined);
  assert.notEqual(await log.last(subject("lives")), undefined);
  assert.notEqual(catalog.blob(REPOSITORY, digestFor("lives")), undefined);
});

test("a view that is folded again afterwards knows nothing of it either, and a new write of the key starts afresh", async () => {
  await using site = await openTestSite();
  const catalog = await site.open();
  await catalog.commit([link("gone")]);
  await catalog.commit([unlink("gone")]);
  await catalog.commit([link("last")]);
  await catalog.retirement.forget([keyOf("gone")], later());
  // Written again between the two steps, as well as after them: the writer looks until the log agrees with its view.
  const between = catalog.commit([link("gone")]);
  await catalog.retirement.discard([keyOf("gone")], later());
  await between;
  assert.notEqual(catalog.blob(REPOSITORY, digestFor("gone")), undefined);
  await catalog.commit([unlink("gone")]);
  await catalog.commit([link("one more")]);
  await catalog.retirement.forget([keyOf("gone")], later());
  await catalog.retirement.discard([keyOf("gone")], later());
  await catalog.commit([link("gone")]);
  const fresh = await site.open({ view: createMemoryStore(), writer: "fresh" });
  await until(() => fresh.ready && fresh.blob(REPOSITORY, digestFor("gone")) !== undefined);
});

test("whichever of view and log has dropped a deletion first, the next write of the key is not kept waiting", async () => {
  await using site = await openTestSite();
  const catalog = await site.open();
  const { retirement } = catalog;
  const signal = (): AbortSignal => AbortSignal.timeout(3_000);
  // The deletion is the log's last entry: it stays there.
  await catalog.commit([link("head")]);
  await catalog.commit([unlink("head")]);
  await retirement.forget([keyOf("head")], later());
  assert.equal(await retirement.discard([keyOf("head")], later()), 0);
  await catalog.commit([link("head")], { signal: signal() });
  assert.notEqual(catalog.blob(REPOSITORY, digestFor("head")), undefined);
  // A view that could not be told.
  await catalog.commit([unlink("head")]);
  await catalog.commit([link("last")]);
  assert.equal(await retirement.discard([keyOf("head")], later()), 1);
  await catalog.commit([link("head")], { signal: signal() });
  assert.notEqual(catalog.blob(REPOSITORY, digestFor("head")), undefined);
});

test("a put that only a copy of another site's log still shows as alive keeps the deletion", async () => {
  await using site = await openTestSite();
  const catalog = await site.open();
  await fromUs(site, "a", { alive: true, sequence: 1 });
  await fromUs(site, "other", { alive: true, sequence: 2 });
  await catalog.lookForStreams();
  await until(() => catalog.foldedPosition("us")?.sequence === 2);
  await catalog.commit([unlink("a")]);
  await catalog.commit([link("last")]);
  assert.deepEqual(oldDeletions(catalog), [keyOf("a")]);
  assert.deepEqual(await catalog.retirement.areDead([keyOf("a")], later()), [false], "FROM_us has the put alone");
  await fromUs(site, "a", { alive: false, sequence: 3 });
  await fromUs(site, "another", { alive: true, sequence: 4 });
  await until(() => catalog.foldedPosition("us")?.sequence === 4);
  assert.deepEqual(await catalog.retirement.areDead([keyOf("a")], later()), [true]);
  assert.equal(await catalog.retirement.discard([keyOf("a")], later()), 2);
});

test("the deletion of a manifest stays known while something is attached to it", async () => {
  await using site = await openTestSite();
  const catalog = await site.open();
  const manifest = (name: string, subject?: string): Change => ({
    kind: "manifest",
    repository: REPOSITORY,
    digest: digestFor(name),
    value: manifestOf(subject === undefined ? {} : { subject }),
  });
  const remove = (name: string): Change => ({
    kind: "delete-manifest",
    repository: REPOSITORY,
    digest: digestFor(name),
    who: "alice",
  });
  await catalog.commit([manifest("image"), manifest("sbom", "image")]);
  await catalog.commit([remove("image")]);
  assert.deepEqual(oldDeletions(catalog), []);
  await catalog.commit([remove("sbom")]);
  assert.equal(oldDeletions(catalog).length, 2);
});
