import assert from "node:assert/strict";
import { test } from "node:test";
import { isContentError } from "@meridian/oci";
import type { LogEntry, TailBatch } from "../event-log.ts";
import { type LogCapabilities, type LogServer, useServer } from "./log-server.ts";
import { available, bytes, tailUntil, text, until, within } from "./waiting.ts";

/** What readers get, and when. */
export function tailCases(make: () => Promise<LogServer>, { reconnects }: LogCapabilities): void {
  const used = useServer(make);

  test("a tail starts in the middle and goes on with what is appended later", async () => {
    await using logs = await used.server.connect("eu/middle");
    const log = await logs.open("middle");
    for (let index = 1; index <= 10; index += 1) {
      await log.append({ subject: `middle.${index}`, payload: bytes(String(index)) });
    }
    let later: Promise<number> | undefined;
    const { entries } = await tailUntil(log, 6, (sofar) => {
      if (sofar.length === 4) {
        later ??= log.append({ subject: "middle.11", payload: bytes("11") });
      }
      return sofar.length === 5;
    });
    await later;
    assert.deepEqual(
      entries.map(({ payload }) => text(payload)),
      ["7", "8", "9", "10", "11"],
    );
  });

  test("an idle tail says so about once a second, with the head", async () => {
    await using logs = await used.server.connect("eu/idle");
    const log = await logs.open("idle");
    await log.append({ subject: "idle.a", payload: bytes("1") });
    const at: number[] = [];
    const { batches } = await tailUntil(log, 1, () => at.push(performance.now()) === 4);
    assert.ok(batches.every(({ entries, head }) => entries.length === 0 && head === 1));
    const gaps = at.slice(1).map((time, index) => time - at[index]!);
    assert.ok(Math.max(...gaps) < 1_500, `gaps of ${gaps.map(Math.round)} ms`);
  });

  test("batches are bounded and their cursors are good", async () => {
    await using logs = await used.server.connect("eu/bounds");
    const log = await logs.open("bounds");
    const payload = new Uint8Array(60_000);
    await Promise.all(Array.from({ length: 40 }, (_, index) => log.append({ subject: `bounds.${index}`, payload })));
    const { batches } = await tailUntil(log, 0, (sofar) => sofar.length === 40);
    for (const { entries, cursor } of batches) {
      assert.ok(entries.length * payload.length <= 1 << 20);
      assert.deepEqual(await log.check(cursor), { ok: true, ...(await headOf(log)) });
    }
    assert.deepEqual(batches.at(-1)?.cursor, await log.cursorAt(40));
  });

  test("a tail ends when its signal aborts, and not before", async () => {
    await using logs = await used.server.connect("eu/end");
    const log = await logs.open("end");
    const stop = new AbortController();
    const tail = log.tail(0, { signal: stop.signal })[Symbol.asyncIterator]();
    assert.equal((await within("the first batch", tail.next())).done, false);
    const next = (async () => {
      for (;;) {
        if ((await tail.next()).done) {
          return "ended";
        }
      }
    })();
    stop.abort();
    assert.equal(await within("the end", next), "ended");
  });

  test("a tail from a cursor that does not fit is refused", async () => {
    await using logs = await used.server.connect("eu/refuse");
    const log = await logs.open("refuse");
    await log.append({ subject: "refuse.a", payload: bytes("1") });
    const { incarnation } = await log.head();
    const cursors = [
      { incarnation, sequence: 2 },
      { incarnation: { ...incarnation, id: "another" }, sequence: 1 },
    ];
    for (const cursor of cursors) {
      const read = tailUntil(log, cursor, () => true);
      await assert.rejects(read, (error) => isContentError(error, "precondition"));
    }
  });

  test("a tail across a restart of the store, from its cursor: nothing missed, nothing twice", async () => {
    await using logs = await used.server.connect("eu/restart");
    let log = await logs.open("META_eu");
    for (let index = 1; index <= 5; index += 1) {
      await log.append({ subject: `m.eu.tag.${index}`, payload: bytes(String(index)) });
    }
    const seen: LogEntry[] = [];
    let last: TailBatch | undefined;
    const read = (async () => {
      for await (const batch of log.tail(0, { signal: new AbortController().signal })) {
        seen.push(...batch.entries);
        last = batch;
      }
    })();
    const ended = assert.rejects(within("the end of the tail", read), (error) => isContentError(error, "unavailable"));
    await until("entries", () => seen.length === 6);
    await used.server.restart();
    await ended;

    const back = reconnects ? logs : await used.server.connect("eu/restart");
    log = await available(() => back.open("META_eu"));
    assert.equal((await available(() => log.check(last!.cursor))).ok, true);
    await available(() => log.append({ subject: "m.eu.tag.6", payload: bytes("6") }));
    const { entries } = await tailUntil(log, last!.cursor!, (sofar) => sofar.length === 2);
    assert.match(entries[0]!.subject, /^m\.eu\.session\./, "a new connection, a new session record");
    assert.equal(text(entries[1]!.payload), "6");
    if (!reconnects) {
      await back[Symbol.asyncDispose]();
    }
  });
}

async function headOf(log: { head(): Promise<{ incarnation: unknown; sequence: number }> }) {
  const { incarnation, sequence } = await log.head();
  return { incarnation, head: sequence };
}
