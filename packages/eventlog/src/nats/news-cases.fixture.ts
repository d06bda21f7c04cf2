import assert from "node:assert/strict";
import { test } from "node:test";
import { isContentError } from "@meridian/oci";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import { useServer } from "../contract/log-server.ts";
import { allEntries, bytes, text, until, within } from "../contract/waiting.ts";
import type { EventLog, EventLogs, Incarnation, LogEntry, TailBatch } from "../event-log.ts";
import type { NatsServer } from "./nats-server.fixture.ts";
import { decodeNews, encodeNews } from "./news-codec.ts";

const ORIGIN: Incarnation = { created: 7n, id: "us-1" };

/** The n-th entry of a copy. */
function copied(sequence: number, value = `entry ${sequence}`): LogEntry {
  const subject = `m.us.tag.${sequence}`;
  return { sequence, subject, payload: bytes(value), origin: { incarnation: ORIGIN, sequence: sequence * 10 } };
}

function store(log: EventLog, { sequence, ...entry }: LogEntry): Promise<number> {
  return log.append(entry, { expectedLastSequence: sequence - 1 });
}

/** A reader of a log, and what it was shown. */
function read(log: EventLog, { ahead }: { ahead: boolean }) {
  const stop = new AbortController();
  const batches: TailBatch[] = [];
  const ended = (async () => {
    for await (const batch of log.tail(0, { signal: stop.signal, ahead })) batches.push(batch);
  })().catch((error: unknown) => error);
  return {
    ended,
    batches,
    texts: () => batches.flatMap(({ entries }) => entries.map(({ payload }) => text(payload))),
    [Symbol.dispose]: () => stop.abort(),
  };
}

/** What readers make of news that writers tell beside the log. */
export function newsCases(start: () => Promise<NatsServer>): void {
  const used = useServer(start) as { readonly server: NatsServer };
  let streams = 0;

  /** A copy of its own for one test, and somebody who tells what he likes about it. */
  async function openCopy(): Promise<
    AsyncDisposable & { log: EventLog; logs: EventLogs; tell: (entries: LogEntry[], life?: Incarnation) => void }
  > {
    await using opened = new AsyncDisposableStack();
    streams += 1;
    const logs = opened.use(await used.server.connect(`eu/news-${streams}`));
    const teller: NatsConnection = await connect({ servers: used.server.url });
    opened.defer(() => teller.close());
    await logs.drop("FROM_us");
    const log = await logs.open("FROM_us");
    const { incarnation } = await log.head();
    const tell = (entries: LogEntry[], life = incarnation): void =>
      teller.publish("bulletin.news.FROM_us", encodeNews({ incarnation: life, entries }));
    const all = opened.move();
    return { log, logs, tell, [Symbol.asyncDispose]: () => all.disposeAsync() };
  }

  test("a copy's entries are shown to who asks for it before they are stored, once; the cursor follows when they are", async () => {
    await using copy = await openCopy();
    const { log, tell } = copy;
    using eager = read(log, { ahead: true });
    using patient = read(log, { ahead: false });
    await until("both tails", () => eager.batches.length > 0 && patient.batches.length > 0);
    tell([copied(1), copied(2)]);
    await until("the entries ahead", () => eager.texts().length === 2);
    assert.ok(eager.batches.filter(({ entries }) => entries.length > 0).every((one) => one.ahead && !one.cursor));
    assert.equal((await log.head()).sequence, 0);
    await Promise.all([store(log, copied(1)), store(log, copied(2))]);
    await until("the cursor", () => eager.batches.at(-1)?.cursor?.sequence === 2);
    await until("the patient reader", () => patient.texts().length === 2);
    assert.deepEqual(eager.texts(), ["entry 1", "entry 2"]);
    assert.deepEqual(eager.batches.at(-1)?.cursor, await log.cursorAt(2));
    assert.equal(eager.batches.at(-1)?.head, 2);
  });

  test("news that is lost, comes twice, out of order, or is of an older life of the stream changes nothing", async () => {
    await using copy = await openCopy();
    const { log, tell } = copy;
    using eager = read(log, { ahead: true });
    await until("the tail", () => eager.batches.length > 0);
    tell([copied(1, "of an older life")], { created: 1n, id: "older" });
    tell([copied(3)]);
    tell([copied(3), copied(2)]);
    tell([copied(2)]);
    // Of the first nobody tells: who appends it does so through a log that tells nothing.
    await quietly(copy.logs, copied(1));
    await until("all three", () => eager.texts().length >= 3);
    assert.deepEqual(eager.texts(), ["entry 1", "entry 2", "entry 3"]);
    await store(log, copied(2));
    await store(log, copied(3));
    await until("the cursor", () => eager.batches.at(-1)?.cursor?.sequence === 3);
    assert.deepEqual(eager.texts(), ["entry 1", "entry 2", "entry 3"]);
  });

  /** Appends without a chain: of that a copy's writer tells nothing. */
  async function quietly(logs: EventLogs, { sequence: _, ...entry }: LogEntry): Promise<void> {
    await (await logs.open("FROM_us")).append(entry);
  }

  test("who was shown what is not stored after all is told to read again", async () => {
    await using copy = await openCopy();
    const { log, tell } = copy;
    using eager = read(log, { ahead: true });
    await until("the tail", () => eager.batches.length > 0);
    tell([copied(1, "never stored")]);
    await until("the entry ahead", () => eager.texts().length === 1);
    await store(log, copied(1, "stored"));
    const error = await within("the end of the tail", eager.ended);
    assert.ok(isContentError(error, "unavailable"), String(error));
    using again = read(log, { ahead: true });
    await until("what is there", () => again.texts().length === 1);
    assert.deepEqual(again.texts(), ["stored"]);
  });

  test("what is no news is passed over", async () => {
    await using copy = await openCopy();
    using eager = read(copy.log, { ahead: true });
    await until("the tail", () => eager.batches.length > 0);
    copy.logs.bulletin.publish("news.FROM_us", bytes("no news"));
    copy.tell([]);
    copy.tell([copied(1)]);
    await until("the entry ahead", () => eager.texts().length === 1);
  });

  test("of the site's own log only what was acknowledged is told, by every writer, and shown with a good cursor", async () => {
    await using logs = await used.server.connect("eu/one");
    await using others = await used.server.connect("eu/two");
    const [log, other] = [await logs.open("META_eu"), await others.open("META_eu")];
    const stop = new AbortController();
    const told: LogEntry[] = [];
    const heard = (async () => {
      for await (const message of logs.bulletin.subscribe("news.META_eu", { signal: stop.signal })) {
        told.push(...(decodeNews(message)?.entries ?? []));
      }
    })();
    using eager = read(log, { ahead: true });
    await until("the tail", () => eager.batches.length > 0);
    const appended: number[] = [];
    for (let index = 0; index < 10; index += 1) {
      const entry = { subject: `m.eu.tag.${index}`, payload: bytes(String(index)) };
      appended.push(await (index % 2 === 0 ? log : other).append(entry));
      await assert.rejects(
        log.append({ ...entry, payload: bytes("refused") }, { expectedLastSubjectSequence: 0 }),
        (error) => isContentError(error, "conflict"),
      );
    }
    await until("all of it", () => told.length >= 10 && eager.texts().length >= 12);
    assert.deepEqual(
      told.map(({ sequence }) => sequence),
      appended,
    );
    assert.deepEqual(
      told.map(({ payload }) => text(payload)),
      Array.from({ length: 10 }, (_, index) => String(index)),
    );
    const seen = eager.batches.flatMap(({ entries }) => entries);
    assert.deepEqual(seen, await allEntries(log));
    for (const { cursor, ahead } of eager.batches) {
      assert.equal(ahead, undefined);
      assert.equal((await log.check(cursor)).ok, true);
    }
    stop.abort();
    await heard;
  });
}
