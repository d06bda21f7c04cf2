import assert from "node:assert/strict";
import { test } from "node:test";
import { isContentError } from "@meridian/oci";
import { compareIncarnations } from "../cursor.ts";
import { type LogCapabilities, type LogServer, useServer } from "./log-server.ts";
import { allEntries, bytes, tailUntil, text, within } from "./waiting.ts";

/** Lives of streams, several of them, and the bulletin. */
export function streamCases(make: () => Promise<LogServer>, { shared }: LogCapabilities): void {
  const used = useServer(make);

  test("streams are apart, listed, and open twice as the same", async () => {
    await using logs = await used.server.connect("eu/apart");
    const [own, copy, policy] = await Promise.all([
      logs.open("META_eu"),
      logs.open("FROM_us"),
      logs.open("POLICY", { compact: false }),
    ]);
    await own.append({ subject: "m.eu.tag.a", payload: bytes("own") });
    await copy.append({ subject: "m.us.tag.a", payload: bytes("copy") });
    await policy.append({ subject: "p.user", payload: bytes("policy") });
    assert.deepEqual((await logs.streams()).sort(), ["FROM_us", "META_eu", "POLICY"]);
    assert.equal((await own.head()).sequence, 2, "a session record and the entry");
    assert.equal((await copy.head()).sequence, 1, "sessions of a copy are its origin's");
    assert.equal((await policy.head()).sequence, 1);
    const again = await logs.open("FROM_us", { incarnation: { created: 5n, id: "ignored" } });
    assert.deepEqual((await again.head()).incarnation, (await copy.head()).incarnation);
    assert.equal(text((await allEntries(again))[0]?.payload), "copy");
  });

  test("a stream opened again keeps its incarnation in the store", async () => {
    const incarnation = { created: 0xfedc_ba98_7654_3210n, id: "given" };
    for (const _ of ["made", "found"]) {
      await using logs = await used.server.connect("eu/given");
      const log = await logs.open("given", { incarnation });
      assert.deepEqual(await log.head(), { incarnation, sequence: 0 });
    }
  });

  test("a renewed stream keeps what it holds, and no cursor of its earlier life fits", async () => {
    await using logs = await used.server.connect("eu/renew");
    const log = await logs.open("renewed", { sessions: true });
    await log.append({ subject: "renewed.a", payload: bytes("1") });
    const { incarnation, sequence } = await log.head();
    const before = await log.cursorAt(sequence);
    const above = { created: incarnation.created + (1n << 40n), id: "ahead of every clock" };
    const renewed = await logs.renew("renewed", { above });
    assert.ok(compareIncarnations((await renewed.head()).incarnation, above) > 0);
    const check = await renewed.check(before);
    assert.equal(check.ok, false);
    assert.equal(!check.ok && check.lost, false, "a new life has lost nothing of an earlier one");
    assert.deepEqual(
      (await allEntries(renewed))
        .slice(0, sequence)
        .map(({ payload }) => text(payload))
        .at(-1),
      "1",
    );
    const next = await renewed.append({ subject: "renewed.b", payload: bytes("2") });
    assert.ok(next > sequence);
    assert.equal((await renewed.check(await renewed.cursorAt(next))).ok, true);
    const again = await logs.renew("renewed");
    assert.ok(
      compareIncarnations(
        (await again.head()).incarnation,
        (await logs.open("renewed").then((l) => l.head())).incarnation,
      ) === 0,
    );
    assert.equal((await again.head()).sequence, next);
    await assert.rejects(
      logs.renew("never opened"),
      (error) => isContentError(error, "unavailable") || isContentError(error, "invalid"),
    );
  });

  test("a dropped stream is gone, and a new one of its name has another incarnation", async () => {
    await using logs = await used.server.connect("eu/drop");
    const log = await logs.open("drop");
    await log.append({ subject: "drop.a", payload: bytes("1") });
    const before = await log.cursorAt(1);
    const tail = within(
      "the end of the tail",
      tailUntil(log, 0, () => false),
    );
    const ended = assert.rejects(tail, (error) => isContentError(error, "unavailable"));
    await logs.drop("drop");
    await logs.drop("drop");
    await ended;
    assert.ok(!(await logs.streams()).includes("drop"));
    for (const use of [() => log.head(), () => log.append({ subject: "drop.a", payload: bytes("2") })]) {
      await assert.rejects(use(), (error) => isContentError(error, "unavailable"));
    }
    const next = await logs.open("drop");
    assert.notDeepEqual((await next.head()).incarnation, before.incarnation);
    assert.equal((await next.head()).sequence, 0);
    assert.equal(await next.last("drop.a"), undefined);
    await next.append({ subject: "drop.a", payload: bytes("3") });
    assert.equal((await next.check(before)).ok, false);
    // Who still holds the old handle is served from the new life: its cursor tells.
    assert.equal((await log.check(before)).ok, false);
  });

  test("a bulletin reaches every subscriber, the publisher's own too, after the publisher's turn", async () => {
    await using logs = await used.server.connect("eu/bulletin");
    const stop = new AbortController();
    const subscriptions = [0, 1].map(() => logs.bulletin.subscribe("folded", { signal: stop.signal }));
    const received = Promise.all(
      subscriptions.map(async (subscription) => {
        const messages: string[] = [];
        for await (const message of subscription) {
          if (messages.push(text(message)!) === 2) {
            break;
          }
        }
        return messages;
      }),
    );
    logs.bulletin.publish("other", bytes("not this"));
    logs.bulletin.publish("folded", bytes("one"));
    logs.bulletin.publish("folded", bytes("two"));
    assert.deepEqual(await within("bulletins", received), [
      ["one", "two"],
      ["one", "two"],
    ]);
    const idle = logs.bulletin.subscribe("folded", { signal: stop.signal })[Symbol.asyncIterator]().next();
    stop.abort();
    assert.equal((await within("the end", idle)).done, true);
  });

  test("the log says that it takes writes, and closed logs say that they do not", async () => {
    const logs = await used.server.connect("eu/probe");
    const log = await logs.open("probe");
    await logs.probe(AbortSignal.timeout(5_000));
    await logs[Symbol.asyncDispose]();
    for (const use of [() => logs.probe(), () => log.head(), () => logs.open("probe")]) {
      await assert.rejects(use(), (error) => isContentError(error, "unavailable"));
    }
  });

  if (shared) {
    test("two processes see each other's entries, sessions, drops and bulletins", async () => {
      await using one = await used.server.connect("eu/one");
      await using two = await used.server.connect("eu/two");
      const [mine, theirs] = [await one.open("both"), await two.open("both")];
      const read = tailUntil(theirs, 0, (sofar) => sofar.length === 2);
      await mine.append({ subject: "both.a", payload: bytes("1") });
      await theirs.append({ subject: "both.b", payload: bytes("2") }, { expectedLastSequence: 1 });
      assert.deepEqual(
        (await read).entries.map(({ payload }) => text(payload)),
        ["1", "2"],
      );
      assert.deepEqual(await mine.cursorAt(2), await theirs.cursorAt(2));

      const stop = new AbortController();
      const heard = two.bulletin.subscribe("news", { signal: stop.signal })[Symbol.asyncIterator]().next();
      await theirs.head(); // The server has taken the subscription: it stands before this request.
      one.bulletin.publish("news", bytes("hello"));
      assert.equal(text((await within("the bulletin", heard)).value), "hello");
      stop.abort();

      await one.drop("both");
      await one.open("both");
      assert.equal((await theirs.head()).sequence, 0);
      const late = theirs.append({ subject: "both.a", payload: bytes("3") });
      await assert.rejects(late, (error) => isContentError(error, "fenced"));
      const reopened = await two.open("both");
      await reopened.append({ subject: "both.c", payload: bytes("5") });
    });
  }
}
