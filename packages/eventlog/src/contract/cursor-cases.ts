import assert from "node:assert/strict";
import { test } from "node:test";
import type { Cursor } from "../event-log.ts";
import { isSessionSubject } from "../session.ts";
import { type LogServer, useServer } from "./log-server.ts";
import { allEntries, bytes } from "./waiting.ts";

const DAY_MS = 86_400_000;

/** Cursors against a store that kept what it had. */
export function cursorCases(make: () => Promise<LogServer>): void {
  const used = useServer(make);

  test("the cursor of every place fits, also after compaction went over it", async () => {
    await using logs = await used.server.connect("eu/fit");
    const log = await logs.open("META_eu");
    for (let index = 0; index < 10; index += 1) {
      await log.append({ subject: `m.eu.tag.${index % 3}`, payload: bytes(String(index)) });
    }
    const { incarnation, sequence: head } = await log.head();
    assert.deepEqual(await log.check(undefined), { ok: true, incarnation, head });
    const cursors = await Promise.all(Array.from({ length: head + 1 }, (_, sequence) => log.cursorAt(sequence)));
    assert.equal(cursors[0]!.session, undefined);
    assert.equal(cursors[head]!.session?.sequence, 1);
    await log.append({ subject: "m.eu.tag.0", payload: bytes("more") });
    for (const cursor of cursors) {
      const check = await log.check(cursor);
      assert.equal(check.ok, true, check.ok ? "" : check.reason);
    }
  });

  test("a cursor of another incarnation, beyond the head, or of another session does not fit", async () => {
    await using logs = await used.server.connect("eu/misfit");
    const log = await logs.open("META_eu");
    await log.append({ subject: "m.eu.tag.z", payload: bytes("1") });
    const good = await log.cursorAt((await log.head()).sequence);
    const session = good.session!;
    const bad = {
      "incarnation (mine|\\w+), the log": { ...good, incarnation: { ...good.incarnation, id: "mine" } },
      "the log ends at": { ...good, sequence: good.sequence + 1 },
      "session before": { ...good, session: { ...session, sequence: session.sequence - 1 } },
      "was none": { ...good, session: undefined },
      "is another one": { ...good, session: { ...session, hash: new Uint8Array(32) } },
    };
    for (const [reason, cursor] of Object.entries(bad)) {
      const check = await log.check(cursor);
      assert.equal(check.ok, false, reason);
      assert.match(check.ok ? "" : check.reason, new RegExp(reason));
    }
  });

  test("a cursor whose session has expired does not fit, and nobody says that the log was lost", async () => {
    let now = Date.UTC(2026, 0, 1);
    const clock = { now: () => now, monotonic: () => now };
    const append = async (): Promise<Cursor> => {
      await using logs = await used.server.connect("eu/weeks", { clock });
      const log = await logs.open("weeks", { sessions: true });
      return await log.cursorAt(await log.append({ subject: "weeks.a", payload: bytes("1") }));
    };
    const old = await append();
    for (const days of [1, 40]) {
      now += days * DAY_MS;
      await append();
    }
    await using logs = await used.server.connect("eu/weeks", { clock });
    const check = await (await logs.open("weeks")).check(old);
    assert.equal(check.ok, false);
    assert.equal(!check.ok && check.lost, false);
  });

  test("sessions are kept until 30 days after their successor", async () => {
    let now = Date.UTC(2026, 0, 1);
    const clock = { now: () => now, monotonic: () => now };
    const seen: number[] = [];
    for (const days of [0, 40, 20, 20]) {
      now += days * DAY_MS;
      await using logs = await used.server.connect("eu/month", { clock });
      const log = await logs.open("expiring", { sessions: true });
      await log.append({ subject: "expiring.a", payload: bytes("1") });
      const entries = await allEntries(log);
      seen.push(entries.filter(({ subject }) => isSessionSubject("expiring", subject)).length);
      const check = await log.check(await log.cursorAt((await log.head()).sequence));
      assert.equal(check.ok, true);
    }
    // Days 0, 40, 60, 80: at 80 the second is 40 days old, so the first goes.
    assert.deepEqual(seen, [1, 2, 3, 3]);
  });
}
