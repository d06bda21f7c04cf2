import assert from "node:assert/strict";
import { test } from "node:test";
import type { EventLog } from "../event-log.ts";
import { type LogServer, useServer } from "./log-server.ts";
import { bytes, text } from "./waiting.ts";

/** Reading what stands below a prefix. */
export function prefixCases(make: () => Promise<LogServer>): void {
  const used = useServer(make);

  const written = async (log: EventLog, subjects: readonly string[]): Promise<number[]> => {
    const sequences: number[] = [];
    for (const [index, subject] of subjects.entries()) {
      sequences.push(await log.append({ subject: `${log.stream}.${subject}`, payload: bytes(`${subject} ${index}`) }));
    }
    return sequences;
  };

  test("what stands below a prefix comes in order of sequence, each subject's last, page by page", async () => {
    await using logs = await used.server.connect("eu/under");
    const log = await logs.open("under");
    await written(log, ["h.z.1", "h.a.1", "other.a", "h.z.2", "ha.1", "h.m.1", "h.z.1"]);
    const all = await log.under("under.h.", { limit: 10 });
    assert.deepEqual(
      all.map(({ payload }) => text(payload)),
      ["h.a.1 1", "h.z.2 3", "h.m.1 5", "h.z.1 6"],
    );
    const first = await log.under("under.h.", { limit: 2 });
    assert.deepEqual(first, all.slice(0, 2));
    assert.deepEqual(await log.under("under.h.", { after: first[1]!.sequence, limit: 10 }), all.slice(2));
    assert.deepEqual(await log.under("under.h.z.", { limit: 1 }), [all[1]]);
    assert.deepEqual(await log.under("under.none.", { limit: 5 }), []);
  });
}
