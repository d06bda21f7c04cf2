import assert from "node:assert/strict";
import { test } from "node:test";
import { isContentError } from "@meridian/oci";
import type { Cursor, EventLog } from "../event-log.ts";
import { isSessionSubject } from "../session.ts";
import { type LogCapabilities, type LogServer, useServer } from "./log-server.ts";
import { allEntries, bytes, text } from "./waiting.ts";

/** Order, compaction, expectations, limits. */
export function appendCases(make: () => Promise<LogServer>, { shared }: LogCapabilities): void {
  const used = useServer(make);

  test("entries are discarded for good while they are their subject's last, the stream's last entry never", async () => {
    await using logs = await used.server.connect("eu/discard");
    const log = await logs.open("discard", { sessions: false });
    for (const subject of ["a", "b", "c", "b", "d"])
      await log.append({ subject: `discard.${subject}`, payload: bytes(subject) });
    const discard = (subject: string, sequence: number) => log.discard([{ subject: `discard.${subject}`, sequence }]);
    assert.equal(await discard("b", 2), 0, "b has a later entry");
    assert.equal(await discard("d", 5), 0, "the stream's last");
    assert.equal(await discard("a", 1), 1);
    assert.equal(await discard("a", 1), 0);
    assert.equal(await log.last("discard.a"), undefined);
    assert.deepEqual(
      (await allEntries(log)).map(({ sequence }) => sequence),
      [3, 4, 5],
    );
    const conditional = { subject: "discard.a", payload: bytes("again") };
    assert.equal(await log.append(conditional, { expectedLastSubjectSequence: 0 }), 6);
    const cursor = await log.cursorAt(4);
    assert.equal(
      await log.discard([
        { subject: "discard.b", sequence: 4 },
        { subject: "discard.c", sequence: 3 },
      ]),
      2,
    );
    assert.equal((await log.check(cursor)).ok, true, "a cursor at a discarded entry still fits");
    assert.equal((await log.head()).sequence, 6);
  });

  test("entries keep the order of the calls, and everything in them", async () => {
    await using logs = await used.server.connect("eu/order");
    const log = await logs.open("order");
    const origin: Cursor = {
      incarnation: { created: 0xffff_ffff_ffff_0001n, id: "theirs" },
      sequence: 4711,
      session: { sequence: 4000, hash: Uint8Array.from({ length: 32 }, (_, index) => index) },
    };
    const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const sequences = await Promise.all(
      Array.from({ length: 200 }, (_, index) =>
        log.append({
          subject: `order.tag.${index}`,
          payload: Uint8Array.of(index, 0, 255),
          ...(index % 2 ? { traceparent, origin } : {}),
        }),
      ),
    );
    assert.deepEqual(
      sequences,
      Array.from({ length: 200 }, (_, index) => index + 1),
    );
    const entries = await allEntries(log);
    assert.deepEqual(
      entries.map(({ sequence }) => sequence),
      sequences,
    );
    assert.deepEqual([...entries[7]!.payload], [7, 0, 255]);
    assert.equal(entries[7]!.traceparent, traceparent);
    assert.equal(entries[8]!.traceparent, undefined);
    assert.equal(entries[8]!.origin, undefined);
    assert.deepEqual(entries[7]!.origin?.incarnation, origin.incarnation);
    assert.deepEqual(Buffer.from(entries[7]!.origin!.session!.hash), Buffer.from(origin.session!.hash));
    assert.equal((await log.last("order.tag.9"))?.sequence, 10);
  });

  test("entries that are appended together are all written, or none", async (context) => {
    await using logs = await used.server.connect("eu/together");
    const log = await logs.open("together");
    if (log.appendAll === undefined) {
      context.skip("this log has no transactions");
      return;
    }
    const entryOf = (name: string, value: string, expectedLastSubjectSequence?: number) => ({
      entry: { subject: `together.${name}`, payload: bytes(value) },
      ...(expectedLastSubjectSequence !== undefined && { expectedLastSubjectSequence }),
    });
    assert.deepEqual(await log.appendAll([entryOf("a", "1", 0), entryOf("b", "1", 0), entryOf("c", "1")]), [1, 2, 3]);
    const late = [entryOf("a", "2", 1), entryOf("c", "2"), entryOf("b", "2", 1)];
    const outcomes = await Promise.allSettled([
      log.appendAll(late),
      log.append(entryOf("b", "3").entry, { expectedLastSubjectSequence: 2 }),
      log.appendAll([entryOf("b", "4", 2)]),
    ]);
    const [refused, written, refusedToo] = outcomes;
    assert.ok(refused?.status === "rejected" && isContentError(refused.reason, "conflict"));
    assert.deepEqual(written, { status: "fulfilled", value: 4 });
    assert.ok(refusedToo?.status === "rejected" && isContentError(refusedToo.reason, "conflict"));
    const values = (await allEntries(log)).map(({ payload }) => text(payload));
    assert.deepEqual(values, ["1", "1", "3"]);
    await assert.rejects(log.appendAll([entryOf("a", "5"), entryOf("wrong subject", "5")]), { kind: "invalid" });
    assert.equal((await log.head()).sequence, 4);
  });

  test("a new entry of a subject removes the older one, unless the stream keeps all", async () => {
    await using logs = await used.server.connect("eu/compaction");
    for (const compact of [true, false]) {
      const stream = compact ? "compacted" : "kept";
      const log = await logs.open(stream, { compact });
      for (const value of ["1", "2", "3"]) {
        await log.append({ subject: `${stream}.a`, payload: bytes(value) });
      }
      await log.append({ subject: `${stream}.b`, payload: bytes("4") });
      const values = (await allEntries(log)).map(({ payload }) => text(payload));
      assert.deepEqual(values, compact ? ["3", "4"] : ["1", "2", "3", "4"]);
      assert.equal(text((await log.last(`${stream}.a`))?.payload), "3");
      assert.equal(await log.last(`${stream}.none`), undefined);
      assert.equal((await log.head()).sequence, 4);
    }
  });

  test("an expectation that fails is a conflict and stores nothing", async () => {
    await using logs = await used.server.connect("eu/expect");
    const log = await logs.open("expect");
    const first = await log.append({ subject: "expect.a", payload: bytes("1") }, { expectedLastSubjectSequence: 0 });
    const refused = [
      { expectedLastSubjectSequence: 0 },
      { expectedLastSubjectSequence: first + 1 },
      { expectedLastSequence: first - 1 },
      { expectedLastSequence: first + 1 },
    ];
    for (const options of refused) {
      const appended = log.append({ subject: "expect.a", payload: bytes("no") }, options);
      await assert.rejects(appended, (error) => isContentError(error, "conflict"));
    }
    assert.equal((await log.head()).sequence, first);
    const both = { expectedLastSubjectSequence: first, expectedLastSequence: first };
    const second = await log.append({ subject: "expect.a", payload: bytes("2") }, both);
    assert.equal(second, first + 1);
    assert.equal(text((await log.last("expect.a"))?.payload), "2");
  });

  test("appends chained by the stream's last sequence are stored as a prefix", async () => {
    await using logs = await used.server.connect("eu/chain");
    const log = await logs.open("chain");
    // The fifth names a wrong predecessor: everything behind it must be refused as well.
    const appends = Array.from({ length: 20 }, (_, index) =>
      log.append(
        { subject: `chain.${index}`, payload: bytes(String(index)) },
        { expectedLastSequence: index === 4 ? 77 : index },
      ),
    );
    const outcomes = await Promise.allSettled(appends);
    assert.deepEqual(
      outcomes.map(({ status }) => status === "fulfilled"),
      Array.from({ length: 20 }, (_, index) => index < 4),
    );
    assert.equal((await log.head()).sequence, 4);
  });

  test("three writers that race for the same subjects lose no update", async () => {
    const writers = await Promise.all(
      (shared ? ["eu/w1", "eu/w2", "eu/w3"] : ["eu/w1"]).map((writer) => used.server.connect(writer)),
    );
    const logs = await Promise.all([0, 1, 2].map((index) => writers[index % writers.length]!.open("race")));
    let conflicts = 0;
    const raise = async (log: EventLog, subject: string, to: number): Promise<void> => {
      for (;;) {
        const last = await log.last(subject);
        const winner = Math.max(Number(text(last?.payload) ?? 0), to);
        const options = { expectedLastSubjectSequence: last?.sequence ?? 0 };
        try {
          await log.append({ subject, payload: bytes(String(winner)) }, options);
          return;
        } catch (error) {
          assert.ok(isContentError(error, "conflict"));
          conflicts += 1;
        }
      }
    };
    const KEYS = 60;
    await Promise.all(
      logs.map(async (log, writer) => {
        for (let key = 0; key < KEYS; key += 1) {
          // The largest comes from a different writer for each key, often not the last one to write.
          await raise(log, `race.k${key}`, ((writer + key) % 3) + 1);
        }
      }),
    );
    for (let key = 0; key < KEYS; key += 1) {
      assert.equal(text((await logs[0]!.last(`race.k${key}`))?.payload), "3");
    }
    assert.ok(conflicts > 0, "the writers did race");
    await Promise.all(writers.map((writer) => writer[Symbol.asyncDispose]()));
  });

  test("64 KiB fit; more, or a subject of another stream, are refused", async () => {
    await using logs = await used.server.connect("eu/limits");
    const log = await logs.open("limits");
    const full = Uint8Array.from({ length: 65_536 }, (_, index) => index % 251);
    await log.append({ subject: "limits.a", payload: full });
    assert.deepEqual(Buffer.from((await log.last("limits.a"))!.payload), Buffer.from(full));
    await log.append({ subject: "limits.empty", payload: new Uint8Array(0) });
    assert.equal((await log.last("limits.empty"))?.payload.length, 0);
    const tooLarge = { subject: "limits.a", payload: new Uint8Array(65_537) };
    const bad = ["other.a", "limits", "limits.", "limits..a", "limits.*", "limits.>", "limits.a b", ""];
    for (const entry of [tooLarge, ...bad.map((subject) => ({ subject, payload: full }))]) {
      await assert.rejects(log.append(entry), (error) => isContentError(error, "invalid"), entry.subject);
    }
    assert.equal((await log.head()).sequence, 2);
  });

  test("an aborted append is not made", async () => {
    await using logs = await used.server.connect("eu/abort");
    const log = await logs.open("abort");
    const signal = AbortSignal.abort(new Error("enough"));
    await assert.rejects(log.append({ subject: "abort.a", payload: bytes("1") }, { signal }), /enough/);
    assert.equal((await log.head()).sequence, 0);
  });

  test("the site's own log begins each writer's work with a session record, which compaction spares", async () => {
    const sessionsOf = async (log: EventLog) =>
      (await allEntries(log)).filter(({ subject }) => isSessionSubject("META_eu", subject));
    await using logs = await used.server.connect("eu/first");
    const log = await logs.open("META_eu");
    assert.equal((await log.head()).sequence, 0, "reading writes nothing");
    // The caller cannot know of the session record that goes before its entry.
    const first = await log.append({ subject: "m.eu.tag.a", payload: bytes("1") }, { expectedLastSequence: 0 });
    assert.equal(first, 2);
    await log.append({ subject: "m.eu.tag.a", payload: bytes("2") });
    assert.deepEqual(
      (await sessionsOf(log)).map(({ sequence }) => sequence),
      [1],
    );
    await using again = await used.server.connect("eu/second");
    const second = await again.open("META_eu");
    await second.append({ subject: "m.eu.tag.a", payload: bytes("3") });
    assert.deepEqual(
      (await sessionsOf(second)).map(({ sequence }) => sequence),
      [1, 4],
    );
  });
}
