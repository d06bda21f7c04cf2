import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, test } from "node:test";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Cursor } from "@meridian/eventlog";
import { createRpcChannel, createRpcServer } from "@meridian/rpc";
import { linkV1 } from "@meridian/wire";
import { copyStream } from "./stream-names.ts";
import { Cable, entriesOf, hurried, silent, type TailClient, TestSite, until } from "./test-site.fixture.ts";

const texts = async (site: TestSite, origin: string): Promise<string[]> =>
  (await entriesOf(await site.logs.open(copyStream(origin))))
    .filter(({ subject }) => !subject.includes(".session."))
    .map(({ subject, payload }) => `${subject} ${Buffer.from(payload)}`);

/** A cursor with its hash as text, whatever kind of bytes it came in. */
const plain = (cursor: Cursor | undefined) =>
  cursor && {
    ...cursor,
    session: cursor.session && `${cursor.session.sequence} ${Buffer.from(cursor.session.hash).toString("hex")}`,
  };

/** A server of its own that says what it is told: for origins that misbehave. */
function scripted(script: () => AsyncIterable<MessageInitShape<typeof linkV1.TailResponseSchema>>): TailClient {
  const server = createRpcServer({ log: silent });
  server.register(linkV1.LogTailService, { tail: () => script() });
  return server.local(linkV1.LogTailService)!;
}

const incarnation = { created: 5n, id: "scripted" };
const welcome = { version: 1, serverSite: "us", incarnation, head: 3n, reset: false };

describe("copier", () => {
  let open: AsyncDisposableStack;
  let us: TestSite;
  let eu: TestSite;

  beforeEach(async () => {
    open = new AsyncDisposableStack();
    const time = hurried(20);
    us = open.use(await TestSite.start("us", time));
    eu = open.use(await TestSite.start("eu", time));
  });
  afterEach(() => open.disposeAsync());

  test("a log crosses gRPC with its traces, and both positions are reported back", async () => {
    const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    await (await us.own()).append({ subject: "m.us.tag.a", payload: Buffer.from("1"), traceparent });
    const { address } = await us.server.listen({ host: "127.0.0.1", port: 0 });
    const channel = open.use(createRpcChannel({ address, log: silent }));
    const client = channel.client(linkV1.LogTailService);
    const life = (await (await us.own()).head()).incarnation.id;
    let folded = 0;
    const copier = open.use(
      eu.copier("us", { client: () => client, folded: () => ({ incarnation: life, sequence: folded }) }),
    );
    await until(() => copier.status().copied?.sequence === 2, "the copy has caught up");
    const last = (await entriesOf(await eu.logs.open("FROM_us"))).at(-1);
    assert.equal(last?.traceparent, traceparent);
    assert.deepEqual(plain(last?.origin), plain(await (await us.own()).cursorAt(2)));
    folded = 2;
    await until(() => us.reports.at(-1)?.report.folded?.sequence === 2, "the fold is reported");
    const { site, origin, report } = us.reports.at(-1)!;
    assert.deepEqual([site, origin, plain(report.copied)], ["eu", "us", plain(last?.origin)]);
    assert.deepEqual([copier.status().via, copier.status().head], ["us", 2]);
  });

  test("a copy goes on from where it stands, not from the start", async () => {
    await us.append("a", "1");
    const first = eu.copier("us", { client: () => us.client() });
    await until(() => first.status().copied?.sequence === 2, "the copy has caught up");
    await first[Symbol.asyncDispose]();
    const life = (await (await eu.logs.open("FROM_us")).head()).incarnation;
    await us.append("b", "2");
    await us.restart();
    await us.append("c", "3");
    const second = open.use(eu.copier("us", { client: () => us.client() }));
    await until(() => second.status().copied?.sequence === 5, "the copy has caught up again");
    assert.deepEqual(await texts(eu, "us"), ["m.us.tag.a 1", "m.us.tag.b 2", "m.us.tag.c 3"]);
    assert.deepEqual((await (await eu.logs.open("FROM_us")).head()).incarnation, life, "it was not read again");
  });

  test("an origin that lost its tail makes the copy read again, also when the tail was refilled beyond it", async () => {
    for (const refill of [0, 8]) {
      await us.append("a", "kept");
      const copier = eu.copier("us", { client: () => us.client() });
      const kept = await us.snapshot();
      await us.append("b", "lost");
      await us.append("c", "lost");
      const lost = (await (await us.own()).head()).sequence;
      await until(() => copier.status().copied?.sequence === lost, "the tail is copied");
      await us.restore(kept);
      for (let index = 0; index < refill; index += 1) await us.append(`d${index}`, "new");
      const head = (await (await us.own()).head()).sequence;
      await until(() => copier.status().copied?.sequence === head, "the copy follows the origin");
      await copier[Symbol.asyncDispose]();
      assert.deepEqual(
        (await texts(eu, "us")).filter((text) => text.endsWith("lost")),
        [],
      );
      assert.deepEqual((await texts(eu, "us")).length, 1 + refill);
    }
  });

  test("a reader that was away for weeks, whose session its origin has forgotten, comes back and has what the origin has", async () => {
    const DAY_MS = 86_400_000;
    let days = 0;
    const calendar = { now: () => Date.now() + days * DAY_MS, monotonic: () => us.clock.monotonic() };
    const reopen = async (after: number): Promise<void> => {
      days += after;
      await us.close();
      await us.open(calendar);
    };
    await us.append("a", "old");
    await us.append("b", "kept");
    const first = eu.copier("us", { client: () => us.client() });
    await until(() => first.status().copied?.sequence === 3, "the copy has caught up");
    await first[Symbol.asyncDispose]();
    const before = (await entriesOf(await eu.logs.open("FROM_us"))).at(-1)?.origin;
    await reopen(1);
    await us.append("a", "new");
    await reopen(40);
    await us.append("c", "new");
    const check = await (await us.own()).check(before);
    assert.equal(!check.ok && !check.lost, true, "the session has expired, and nothing was lost");
    const adopted: string[] = [];
    const adopt = async (_origin: string, payloads: readonly Uint8Array[]): Promise<void> => {
      adopted.push(...payloads.map((payload) => Buffer.from(payload).toString()));
    };
    const second = open.use(eu.copier("us", { client: () => us.client(), adopt }));
    const expected = ["m.us.tag.b kept", "m.us.tag.a new", "m.us.tag.c new"];
    await until(async () => (await texts(eu, "us")).join() === expected.join(), "the copy is the origin's");
    // Whoever adopts publishes only what the new copy lacks.
    await until(() => adopted.length > 0, "the old copy is looked through");
    assert.deepEqual(adopted.sort(), ["kept", "old"]);
    await until(async () => !(await eu.logs.streams()).includes("OLD_us"), "the old copy is gone");
    assert.equal(second.status().failure, undefined);
  });

  test("a newer life replaces the copy once its tail is there, an older one is refused and the copy stays", async () => {
    await us.append("a", "first life");
    const copier = open.use(eu.copier("us", { client: () => us.client() }));
    await until(() => copier.status().copied?.sequence === 2, "the first life is copied");
    await us.wipe({ now: () => Date.now() - 1e9, monotonic: () => us.clock.monotonic() });
    await us.append("a", "older life");
    await until(() => /old life/.test(copier.status().failure ?? ""), "the older life is refused");
    assert.deepEqual(await texts(eu, "us"), ["m.us.tag.a first life"]);
    await us.wipe();
    await us.append("a", "newer life");
    await until(async () => (await texts(eu, "us")).join() === "m.us.tag.a newer life", "the newer life is copied");
  });

  test("records that may not be stored are put aside and stop nothing", async () => {
    const entry = (sequence: number, subject: string, size = 1) => {
      return { sequence: BigInt(sequence), subject, payload: Buffer.alloc(size, 65), traceparent: "" };
    };
    let connections = 0;
    const client = scripted(async function* () {
      connections += 1;
      yield { message: { case: "welcome", value: welcome } };
      const entries = [
        entry(1, "m.us.tag.a"),
        entry(2, "m.ap.tag.a"),
        entry(3, "m.us.tag.big", 65_537),
        entry(4, "m.us.tag.no good"),
        entry(9, "m.us.tag.b"),
      ];
      const after = connections === 1 ? 0 : 1;
      yield { message: { case: "batch", value: { entries: entries.slice(after), head: 9n } } };
      await new Promise(() => {});
    });
    const copier = open.use(eu.copier("us", { client: () => client }));
    await until(() => copier.status().copied?.sequence === 9, "the good ones are copied");
    assert.deepEqual(await texts(eu, "us"), ["m.us.tag.a A", "m.us.tag.b A"]);
    const { quarantine } = copier.status();
    assert.deepEqual([...new Set(quarantine.map(({ origin }) => origin.sequence))], [2, 3, 4]);
    assert.match(quarantine.map(({ reason }) => reason).join(), /begin with m\.us\..*65537 bytes.*not a subject/);
  });

  test("a silent source is given up after three seconds, and asked again", async () => {
    let connections = 0;
    const client = scripted(async function* () {
      connections += 1;
      yield { message: { case: "welcome", value: welcome } };
      await new Promise(() => {});
    });
    const started = us.clock.monotonic();
    const copier = open.use(eu.copier("us", { client: () => client }));
    await until(() => /silent/.test(copier.status().failure ?? ""), "the silence is noticed");
    assert.ok(us.clock.monotonic() - started >= 2_900);
    await until(() => connections >= 2, "it is asked again");
  });

  test("entries out of order end the connection and are not stored", async () => {
    const client = scripted(async function* () {
      yield { message: { case: "welcome", value: welcome } };
      const entries = [3n, 2n].map((sequence) => ({ sequence, subject: "m.us.tag.a", payload: Buffer.from("x") }));
      yield { message: { case: "batch", value: { entries, head: 3n } } };
    });
    const copier = open.use(eu.copier("us", { client: () => client }));
    await until(() => /sent 2 after 3/.test(copier.status().failure ?? ""), "the order is refused");
    assert.deepEqual(await texts(eu, "us"), []);
  });

  test("another writer of the copy makes it start again from what is stored", async () => {
    await us.append("a", "1");
    const copiers = [1, 2].map(() => open.use(eu.copier("us", { client: () => us.client() })));
    for (let index = 0; index < 100; index += 1) await us.append(`k${index}`, String(index));
    const { sequence } = await (await us.own()).head();
    for (const copier of copiers) {
      await until(
        async () => (await entriesOf(await eu.logs.open("FROM_us"))).at(-1)?.origin?.sequence === sequence,
        "whole",
      );
      await copier[Symbol.asyncDispose]();
    }
    assert.equal((await texts(eu, "us")).length, 101);
  });

  test("a version that is not shared is refused with both sides' versions", async () => {
    const client = scripted(async function* () {
      yield { message: { case: "welcome", value: { ...welcome, version: 7 } } };
    });
    const copier = open.use(eu.copier("us", { client: () => client }));
    await until(() => /link version 7/.test(copier.status().failure ?? ""), "the version is refused");
  });

  describe("relays", () => {
    let ap: TestSite;
    let cable: Cable;

    beforeEach(async () => {
      ap = open.use(await TestSite.start("ap", hurried(20)));
      cable = new Cable(() => us.client());
    });

    const relays = () => [{ site: "ap", client: ap.client() }];

    test("an origin out of reach is copied through a third site, and directly again when it is back", async () => {
      await us.append("a", "1");
      const third = open.use(ap.copier("us", { client: () => us.client() }));
      const copier = open.use(eu.copier("us", { client: () => cable.client, relays }));
      await until(() => copier.status().copied?.sequence === 2, "copied directly");
      cable.cut();
      await us.append("b", "2");
      await until(() => copier.status().copied?.sequence === 3, "copied through the relay");
      assert.equal(copier.status().via, "ap");
      assert.ok(copier.status().originSilentMs >= 2_900, "the relay's heartbeats are not the origin's");
      assert.deepEqual(await texts(eu, "us"), ["m.us.tag.a 1", "m.us.tag.b 2"]);
      cable.heal();
      await until(() => copier.status().via === "us", "directly again");
      await third[Symbol.asyncDispose]();
      await us.append("c", "3");
      await until(() => copier.status().copied?.sequence === 4, "copied directly again");
      assert.deepEqual(
        await entriesOf(await eu.logs.open("FROM_us")).then((all) => all.map(({ origin }) => origin?.sequence)),
        [1, 2, 3, 4],
      );
    });

    test("a relay that is behind sends nothing twice and goes on when it is past the reader", async () => {
      for (const key of ["a", "b", "c"]) await us.append(key, "1");
      const third = ap.copier("us", { client: () => us.client() });
      await until(() => third.status().copied?.sequence === 4, "the third site has copied");
      await third[Symbol.asyncDispose]();
      for (const key of ["d", "e"]) await us.append(key, "1");
      const copier = open.use(eu.copier("us", { client: () => cable.client, relays }));
      await until(() => copier.status().copied?.sequence === 6, "copied directly");
      cable.cut();
      await until(() => copier.status().via === "ap", "on the relay");
      await us.append("f", "1");
      open.use(ap.copier("us", { client: () => us.client() }));
      await until(() => copier.status().copied?.sequence === 7, "copied through the relay");
      assert.equal(copier.status().via, "ap");
      assert.deepEqual((await texts(eu, "us")).length, 6);
    });

    test("a relay that went another way is not followed: only the origin may make a copy start again", async () => {
      await us.append("a", "kept");
      const kept = await us.snapshot();
      await us.append("b", "lost");
      const third = ap.copier("us", { client: () => us.client() });
      await until(() => third.status().copied?.sequence === 4, "the third site has the lost tail");
      await third[Symbol.asyncDispose]();
      await us.restore(kept);
      await us.append("c", "new");
      const copier = open.use(eu.copier("us", { client: () => cable.client, relays }));
      await until(() => copier.status().copied?.sequence === 4, "copied directly");
      const before = await texts(eu, "us");
      cable.cut();
      await until(() => /cannot relay/.test(copier.status().failure ?? ""), "the relay is refused");
      assert.deepEqual(await texts(eu, "us"), before);
    });
  });

  test("the log of an expelled site is refused: nothing of it comes in, from it or from a relay", async () => {
    await us.append("a", "1");
    const refusedUntil = (await (await us.own()).head()).incarnation.created;
    const copier = open.use(eu.copier("us", { client: () => us.client(), refusedUntil: () => refusedUntil }));
    await until(() => copier.status().failure !== undefined, "it is refused");
    assert.match(copier.status().failure!, /from before it ceased to be a member: wipe its data/);
    assert.deepEqual(await texts(eu, "us"), []);
    assert.equal(copier.status().copied, undefined);
  });

  test("a new log of a site that was expelled is taken", async () => {
    await us.append("a", "1");
    const { created } = (await (await us.own()).head()).incarnation;
    const copier = open.use(eu.copier("us", { client: () => us.client(), refusedUntil: () => created - 1n }));
    await until(() => copier.status().copied !== undefined, "it is copied");
  });
});
