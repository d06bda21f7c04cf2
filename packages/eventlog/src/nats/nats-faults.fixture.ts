import assert from "node:assert/strict";
import { test } from "node:test";
import { isContentError } from "@meridian/oci";
import { createSystemClock, systemRandom } from "@meridian/runtime";
import { useServer } from "../contract/log-server.ts";
import { allEntries, available, bytes, tailUntil, text, until, within } from "../contract/waiting.ts";
import { openNatsLogs } from "../open-nats-logs.ts";
import type { NatsServer } from "./nats-server.fixture.ts";

/** What only a server of its own can do to its clients: die, hang, hold back. */
export function natsFaultCases(start: () => Promise<NatsServer>): void {
  const used = useServer(start) as { readonly server: NatsServer };

  test("kill -9 under pipelined appends leaves no hole: what is stored is a prefix of what was sent", async () => {
    await using logs = await used.server.connect("eu/pipeline");
    const log = await logs.open("pipeline", { compact: false });
    let value = 0;
    for (let round = 0; round < 3; round += 1) {
      const first = value;
      const acknowledged: number[] = [];
      let failed = 0;
      const sent: Array<Promise<void>> = [];
      const send = (): void => {
        const mine = value;
        value += 1;
        const appended = log.append({ subject: "pipeline.a", payload: bytes(String(mine)) });
        sent.push(
          appended.then(
            () => void acknowledged.push(mine),
            (error: unknown) => {
              assert.ok(isContentError(error, "unavailable"), String(error));
              failed += 1;
            },
          ),
        );
      };
      await available(() => log.head());
      for (let index = 0; index < 256; index += 1) {
        send();
      }
      await until("the first acknowledgements", () => acknowledged.length > 20);
      const killed = used.server.kill();
      // Behind the loss, over the moments in which the driver learns of it.
      while (failed === 0) {
        send();
        await new Promise((resolve) => setImmediate(resolve));
      }
      await killed;
      await within("all outcomes", Promise.all(sent));
      await used.server.restart();
      const stored = (await available(() => allEntries(log))).map(({ payload }) => Number(text(payload)));
      const ofRound = stored.filter((number) => number >= first);
      assert.deepEqual(
        ofRound,
        ofRound.map((_, index) => first + index),
      );
      assert.ok(acknowledged.every((number) => ofRound.includes(number)));
      // The next round starts where the store is, as a writer does that reads before it goes on.
      value = (stored.at(-1) ?? -1) + 1;
    }
  });

  test("while the server is away everything says so; afterwards the same log goes on by itself", async () => {
    await using logs = await used.server.connect("eu/away");
    const log = await logs.open("META_eu");
    await log.append({ subject: "m.eu.tag.a", payload: bytes("1") });
    const cursor = await log.cursorAt((await log.head()).sequence);
    const bulletin = logs.bulletin.subscribe("away", { signal: new AbortController().signal });
    const ended = assert.rejects(bulletin[Symbol.asyncIterator]().next(), (error) =>
      isContentError(error, "unavailable"),
    );
    await used.server.kill();
    await within("the end of the subscription", ended);
    const uses = {
      append: () => log.append({ subject: "m.eu.tag.a", payload: bytes("2") }),
      head: () => log.head(),
      last: () => log.last("m.eu.tag.a"),
      check: () => log.check(cursor),
      cursorAt: () => log.cursorAt(1),
      tail: () => tailUntil(log, 0, () => true),
      open: () => logs.open("another"),
      streams: () => logs.streams(),
      renew: () => logs.renew("META_eu"),
      drop: () => logs.drop("another"),
      probe: () => logs.probe(),
    };
    for (const [name, use] of Object.entries(uses)) {
      await assert.rejects(use(), (error) => isContentError(error, "unavailable"), name);
    }
    logs.bulletin.publish("away", bytes("nobody hears it"));
    await used.server.restart();
    const sequence = await available(() => log.append({ subject: "m.eu.tag.a", payload: bytes("3") }));
    assert.equal(sequence, cursor.sequence + 2, "a session record, then the entry");
    assert.equal((await log.check(cursor)).ok, true);
    await logs.probe();
  });

  test("a server that hangs is found by its silence", async () => {
    await using logs = await used.server.connect("eu/hang");
    const log = await logs.open("hang");
    const read = tailUntil(log, 0, (_, batches) => {
      if (batches.length === 2) {
        used.server.pause(true);
      }
      return false;
    });
    const began = performance.now();
    try {
      await assert.rejects(within("the end of the tail", read), (error) => isContentError(error, "unavailable"));
      assert.ok(performance.now() - began < 5_500);
    } finally {
      used.server.pause(false);
    }
  });

  test("a reader that does not read is not sent everything", async () => {
    await using logs = await used.server.connect("eu/slow");
    const log = await logs.open("slow");
    const payload = new Uint8Array(50_000);
    await Promise.all(Array.from({ length: 120 }, (_, index) => log.append({ subject: `slow.${index}`, payload })));
    const stop = new AbortController();
    const tail = log.tail(0, { signal: stop.signal })[Symbol.asyncIterator]();
    let read = 0;
    let largest = 0;
    while (read < 120) {
      const { value } = await within("a batch", tail.next());
      // Requests of the client answered behind the tail's: had the server more to send, it would be here by now.
      await log.head();
      read += value.entries.length;
      largest = Math.max(largest, value.entries.length);
    }
    stop.abort();
    await tail.return?.();
    assert.ok(largest <= 21, `${largest} entries of 50 kB in one batch`);
  });

  test("a stream that Meridian did not make is refused", async () => {
    const { connect } = await import("@nats-io/transport-node");
    const { jetstreamManager } = await import("@nats-io/jetstream");
    const connection = await connect({ servers: used.server.url });
    const manager = await jetstreamManager(connection);
    await manager.streams.add({ name: "foreign", subjects: ["foreign.>"] });
    await connection.close();
    await using logs = await used.server.connect("eu/foreign");
    await assert.rejects(logs.open("foreign"), (error) => isContentError(error, "invalid"));
  });

  test("the first connection has a deadline", async () => {
    const server = await start();
    const servers = [server.url];
    await server[Symbol.asyncDispose]();
    const settings = { site: "eu", writer: "eu/none", clock: createSystemClock(), random: systemRandom };
    const opened = openNatsLogs({ ...settings, servers, connectTimeoutMs: 300 });
    await assert.rejects(within("the refusal", opened), (error) => isContentError(error, "unavailable"));
  });
}
