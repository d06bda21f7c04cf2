import assert from "node:assert/strict";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Cursor, EventLog } from "../event-log.ts";
import { type LogServer, useServer } from "./log-server.ts";
import { available, bytes } from "./waiting.ts";

/** Cursors against a store that was set back to an older copy, as after a power loss without fsync. */
export function storeLossCases(make: () => Promise<LogServer>): void {
  const used = useServer(make);
  let saved: string;
  before(async () => {
    saved = await mkdtemp(join(tmpdir(), "meridian-eventlog-saved-"));
  });
  after(() => rm(saved, { recursive: true, force: true }));

  const save = () => used.server.restart((folder) => cp(folder, saved, { recursive: true }));
  const restore = () =>
    used.server.restart(async (folder) => {
      await rm(folder, { recursive: true, force: true });
      await cp(saved, folder, { recursive: true });
    });
  const withLog = async <T>(stream: string, compact: boolean, work: (log: EventLog) => Promise<T>): Promise<T> => {
    const logs = await available(() => used.server.connect("eu/loss"));
    try {
      return await work(await available(() => logs.open(stream, { compact })));
    } finally {
      await logs[Symbol.asyncDispose]();
    }
  };
  const fill = async (log: EventLog, prefix: string, count: number): Promise<Cursor> => {
    for (let index = 0; index < count; index += 1) {
      await log.append({ subject: `${prefix}.${index}`, payload: bytes(`${prefix} ${index}`) });
    }
    return log.cursorAt((await log.head()).sequence);
  };

  for (const { stream, compact, prefix } of [
    { stream: "META_eu", compact: true, prefix: "m.eu.tag" },
    { stream: "POLICY", compact: false, prefix: "p" },
  ]) {
    test(`${stream}: a lost tail is found, refilled or not; what was before it still fits`, async () => {
      const kept = await withLog(stream, compact, (log) => fill(log, `${prefix}.kept`, 5));
      await save();
      const lost = await withLog(stream, compact, (log) => fill(log, `${prefix}.lost`, 5));
      await restore();
      await withLog(stream, compact, async (log) => {
        assert.equal((await log.check(kept)).ok, true);
        const check = await log.check(lost);
        assert.match(check.ok ? "it fits" : check.reason, /ends at/);
        assert.equal(!check.ok && check.lost, true);
        await fill(log, `${prefix}.other`, 12);
        assert.ok((await log.head()).sequence >= lost.sequence, "the new tail covers the lost one");
        const again = await log.check(lost);
        assert.equal(again.ok, false);
        assert.match(again.ok ? "it fits" : again.reason, /session/);
        assert.equal(
          !again.ok && again.lost,
          true,
          "refilled differently: what the cursor had seen is lost all the same",
        );
        assert.equal((await log.check(kept)).ok, true);
      });
    });
  }

  test("a copy: a lost tail that was filled again from further on at the origin is found", async () => {
    const incarnation = { created: 1n, id: "theirs" };
    const copy = async (log: EventLog, origins: readonly number[]): Promise<void> => {
      for (const sequence of origins) {
        const entry = { subject: `m.us.tag.${sequence}`, payload: bytes(String(sequence)) };
        await log.append({ ...entry, origin: { incarnation, sequence } });
      }
    };
    const early = await withLog("FROM_us", true, async (log) => {
      await copy(log, [1, 2, 3, 4, 5]);
      return log.cursorAt(5);
    });
    await save();
    const lost = await withLog("FROM_us", true, async (log) => {
      await copy(log, [6, 7, 8, 9]);
      return log.cursorAt(9);
    });
    await restore();
    await withLog("FROM_us", true, async (log) => {
      // The origin was compacted meanwhile: 6 to 8 are gone, so entries after 9 stand where the cursor had passed.
      await copy(log, [9, 10, 11, 12, 13]);
      const check = await log.check(lost);
      assert.match(check.ok ? "it fits" : check.reason, /had 9 of its origin at 9 and has 12 there now/);
      assert.equal((await log.check(early)).ok, true);
    });
  });
}
