import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { encodeLife, type Incarnation, lifeSubject } from "@meridian/eventlog";
import { createMemoryStore } from "@meridian/keyvalue";
import { isContentError } from "@meridian/oci";
import { recordV1 } from "@meridian/wire";
import { decodeRecord } from "./merge.ts";
import type { OpenCatalog } from "./open-catalog.ts";
import { openTestSite, type TestSite, until } from "./test-site.ts";
import { formatVersion, parseVersion } from "./version-token.ts";

const { LOST, RESTORING, WHOLE } = recordV1.LifeState;
const REPOSITORY = [{ kind: "repository", repository: "r", who: "x" }] as const;

describe("a log whose life is not whole", () => {
  let site: TestSite;
  let catalog: OpenCatalog;
  const now = (): AbortSignal => AbortSignal.abort();
  const incarnation = async (): Promise<Incarnation> => (await (await site.logs.open("META_eu")).head()).incarnation;
  const say = async (life: Parameters<typeof encodeLife>[2], of?: Incarnation): Promise<void> => {
    const log = await site.logs.open("META_eu");
    const about = of ?? (await incarnation());
    await log.append({ subject: lifeSubject("META_eu", about), payload: encodeLife("eu", about, life) });
  };
  const told = (version: ReadonlyArray<[Incarnation, number]>): string[] =>
    version.map(([life, sequence]) => formatVersion(new Map([["eu", { incarnation: life, sequence }]])));
  const outcome = (version: string): Promise<string> =>
    catalog.reached(version, now()).then(
      () => "shown",
      (error: unknown) => (isContentError(error, "precondition") ? "lost" : "waited for"),
    );

  before(async () => {
    site = await openTestSite();
    catalog = await site.open({ restores: true });
  });
  after(() => site[Symbol.asyncDispose]());

  test("takes no write, and says how far it is", async () => {
    await until(() => catalog.life.current() !== undefined);
    await assert.rejects(
      catalog.commit(REPOSITORY),
      (error) =>
        isContentError(error, "unavailable") && /takes no writes.*nobody could be asked yet/.test(error.message),
    );
    await say({ state: RESTORING, asked: ["us"], waiting: ["ap"], records: 7n });
    await until(() => catalog.life.restoring?.records === 7);
    assert.match(catalog.life.restoring?.message ?? "", /7 records brought in from us; waiting for ap/);
    assert.equal(catalog.hasRepository("r"), false);
    await say({ state: RESTORING, waiting: ["us", "ap"], records: 4_000n });
    await until(() => catalog.life.restoring?.records === 4_000);
    assert.match(catalog.life.restoring?.message ?? "", /: 4000 records brought in; waiting for us, ap$/);
  });

  test("takes writes once it is whole, each stamped after every reading that was found of its own", async () => {
    const clock = (BigInt(Date.now() + 900) << 16n) + 5n;
    await say({ state: WHOLE, clock });
    await until(() => catalog.life.restoring === undefined);
    await catalog.commit(REPOSITORY);
    const log = await site.logs.open("META_eu");
    const [entry] = await log.under("m.eu.repository.", { limit: 1 });
    assert.ok((decodeRecord(entry!.payload).put?.hlc?.time ?? 0n) > clock);
  });

  test("what it brought back of earlier lives is shown, what lies beyond is lost at once, what is not read yet is waited for", async () => {
    const before = { created: 5n, id: "earlier" };
    const version = parseVersion(catalog.version()).get("eu")!;
    await say({ state: WHOLE, earlier: [{ ...before, sequence: 9n } as recordV1.EarlierLife] });
    await until(() => (parseVersion(catalog.version()).get("eu")?.sequence ?? 0) > version.sequence);
    const later = { created: version.incarnation.created + 1n, id: "later" };
    const versions = told([
      [before, 9],
      [before, 10],
      [{ created: 6n, id: "never copied" }, 1],
      [later, 1],
      [version.incarnation, 1_000],
    ]);
    assert.deepEqual(await Promise.all(versions.map(outcome)), ["shown", "lost", "lost", "waited for", "waited for"]);
    await say({ state: RESTORING });
    await until(() => catalog.life.restoring !== undefined);
    assert.equal(await outcome(versions[1]!), "waited for", "nobody can say before it is whole");
  });

  test("an operator's word ends the wait, and only while there is one", async () => {
    await catalog.life.acceptLoss();
    assert.equal(catalog.life.restoring, undefined);
    await catalog.commit([{ kind: "repository", repository: "s", who: "x" }]);
    await assert.rejects(catalog.life.acceptLoss(), (error) => isContentError(error, "precondition"));
  });

  test("a log found to be set back takes no writes, in all processes of the site, until it has begun another life", async () => {
    const sibling = await site.open({ restores: true, writer: "sibling", view: createMemoryStore() });
    await until(() => sibling.ready);
    const lost = await incarnation();
    const check = { ok: false, incarnation: lost, head: 1, reason: "it ends at 1", lost: true } as const;
    assert.equal(catalog.life.foundLost(check), true);
    assert.notEqual(catalog.life.restoring, undefined, "at once");
    await until(() => sibling.life.restoring !== undefined);
    assert.equal(sibling.life.current()?.life?.state, LOST);
    const early = (error: unknown): boolean => isContentError(error, "unavailable");
    await assert.rejects(sibling.life.acceptLoss(), early, "not before it is another life that would lack something");
    await site.logs.renew("META_eu");
    await say({ state: WHOLE, earlier: [{ ...lost, sequence: 3n } as recordV1.EarlierLife] });
    await until(() => catalog.life.restoring === undefined && sibling.life.restoring === undefined);
    assert.deepEqual(
      await Promise.all(
        told([
          [lost, 3],
          [lost, 4],
        ]).map(outcome),
      ),
      ["shown", "lost"],
    );
    await catalog.commit([{ kind: "repository", repository: "t", who: "x" }]);
    await until(() => sibling.hasRepository("t") && sibling.hasRepository("s"));
  });
});

test("where nothing is restored a log is as it is", async () => {
  await using site = await openTestSite();
  const catalog = await site.open();
  await catalog.commit(REPOSITORY);
  const check = { ok: false, incarnation: { created: 1n, id: "x" }, head: 1, reason: "it ends", lost: true } as const;
  assert.equal(catalog.life.foundLost(check), false);
  assert.equal(catalog.life.restoring, undefined);
});
