import assert from "node:assert/strict";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { isContentError } from "@meridian/oci";
import { createManualTime, type ManualTime, systemRandom } from "@meridian/runtime";
import { allEntries, bytes, text, until } from "../contract/waiting.ts";
import type { EventLog, EventLogs, TailBatch } from "../event-log.ts";
import { openEmbeddedLogs } from "./open-embedded-logs.ts";

const incarnation = { created: 5n, id: "theirs" };

/** Appends entry `sequence` of the origin behind `predecessor` of the copy. */
function copy(log: EventLog, sequence: number, predecessor = sequence - 1): Promise<number> {
  const entry = {
    subject: `m.us.tag.${sequence}`,
    payload: bytes(String(sequence)),
    origin: { incarnation, sequence },
  };
  return log.append(entry, { expectedLastSequence: predecessor });
}

describe("entries of a copy before they are on disk", () => {
  let path: string;
  let time: ManualTime;
  let logs: EventLogs;
  let log: EventLog;
  let stop: AbortController;

  const openLogs = (folder: string): Promise<EventLogs> =>
    openEmbeddedLogs({ path: folder, site: "eu", writer: "eu/site", random: systemRandom, ...time });

  /** What a tail yields from now on, and how it ended. */
  function read(ahead: boolean): { batches: TailBatch[]; ended: Promise<unknown> } {
    const batches: TailBatch[] = [];
    const ended = (async () => {
      for await (const batch of log.tail(0, { signal: stop.signal, ahead })) batches.push(batch);
    })().catch((error: unknown) => error);
    return { batches, ended };
  }

  const texts = (batches: readonly TailBatch[]): (string | undefined)[] =>
    batches.flatMap(({ entries }) => entries.map(({ payload }) => text(payload)));

  beforeEach(async () => {
    path = await mkdtemp(join(tmpdir(), "meridian-eventlog-ahead-"));
    time = createManualTime(1_800_000_000_000);
    logs = await openLogs(join(path, "log"));
    log = await logs.open("FROM_us");
    stop = new AbortController();
    // The transaction of what comes next waits for more to come, until the time moves.
    await copy(log, 1);
  });
  afterEach(async () => {
    stop.abort();
    await logs[Symbol.asyncDispose]();
    await rm(path, { recursive: true, force: true });
  });

  test("are shown to who asks for it, once, and their cursor follows when they are", async () => {
    const [eager, patient] = [read(true), read(false)];
    await until("the stored entry", () => texts(eager.batches).length === 1 && texts(patient.batches).length === 1);
    const stored = Promise.all([copy(log, 2), copy(log, 3)]);
    await until("the entries ahead", () => texts(eager.batches).length === 3);
    assert.deepEqual(texts(patient.batches), ["1"]);
    assert.equal((await log.head()).sequence, 1);
    assert.ok(eager.batches.filter(({ ahead }) => ahead).every(({ cursor }) => cursor === undefined));
    await time.advance(100);
    assert.deepEqual(await stored, [2, 3]);
    await until("the cursor", () => eager.batches.at(-1)?.cursor?.sequence === 3);
    await until("the patient reader", () => texts(patient.batches).length === 3);
    assert.deepEqual(texts(eager.batches), ["1", "2", "3"]);
    assert.deepEqual(eager.batches.at(-1)?.cursor, patient.batches.at(-1)?.cursor);
    assert.deepEqual(eager.batches.at(-1)?.cursor, await log.cursorAt(3));
  });

  test("what is not a copy's next entry is shown when it is stored", async () => {
    const { batches } = read(true);
    const own = await logs.open("META_eu");
    const shown: TailBatch[] = [];
    void (async () => {
      for await (const batch of own.tail(0, { signal: stop.signal, ahead: true })) shown.push(batch);
    })();
    await own.append({ subject: "m.eu.tag.a", payload: bytes("own") }, { expectedLastSequence: 0 });
    await log.append({ subject: "m.us.tag.x", payload: bytes("unchained") });
    await until("both", () => texts(batches).length === 2 && texts(shown).length === 2);
    assert.ok([...batches, ...shown].every(({ ahead }) => ahead !== true));
  });

  test("when they cannot be stored, who has seen them is told to read again", async () => {
    const { batches, ended } = read(true);
    await until("the stored entry", () => texts(batches).length === 1);
    const outcomes = Promise.allSettled([
      log.append({ subject: "m.us.tag.other", payload: bytes("another writer's") }),
      copy(log, 2),
    ]);
    await until("the entry ahead", () => texts(batches).length >= 2);
    const [other, refused] = await outcomes;
    assert.deepEqual(other, { status: "fulfilled", value: 2 });
    assert.ok(refused?.status === "rejected" && isContentError(refused.reason, "conflict"));
    assert.ok(isContentError(await ended, "unavailable"));
    assert.deepEqual(
      (await allEntries(log)).map(({ payload }) => text(payload)),
      ["1", "another writer's"],
    );
    const again = read(true);
    const third = copy(log, 3, 2);
    await until("the next entry", () => texts(again.batches).join() === "1,another writer's,3");
    await time.advance(100);
    assert.equal(await third, 3);
  });

  test("a machine that goes down takes them; what was acknowledged stays", async () => {
    const { batches } = read(true);
    const second = copy(log, 2);
    await until("the entry ahead", () => texts(batches).length === 2);
    await cp(join(path, "log"), join(path, "found"), { recursive: true });
    await time.advance(100);
    await second;
    await using found = await openLogs(join(path, "found"));
    const left = await allEntries(await found.open("FROM_us"));
    assert.deepEqual(
      left.map(({ payload }) => text(payload)),
      ["1"],
    );
  });

  test("an append of the site's own takes the waiting ones to the disk with it", async () => {
    const second = copy(log, 2);
    await (await logs.open("META_eu")).append({ subject: "m.eu.tag.a", payload: bytes("own") });
    assert.equal(await second, 2);
    assert.equal((await log.head()).sequence, 2);
  });

  test("many do not wait for more", async () => {
    const all = await Promise.all(Array.from({ length: 300 }, (_, index) => copy(log, index + 2)));
    assert.equal(all.at(-1), 301);
  });
});
