import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setImmediate as nextTurn } from "node:timers/promises";
import { create, toBinary } from "@bufbuild/protobuf";
import { policyV1 } from "@meridian/wire";
import { followFreshness, publishFreshness } from "./bulletin-freshness.ts";
import { clock, eventually, PolicyCluster, userDoc } from "./cluster.fixture.ts";
import { userKey } from "./entry-key.ts";
import { COMMIT_SUBJECT, entrySubject, LogMirror } from "./log-mirror.ts";
import { positionOf, positionToWire } from "./position.ts";
import { EffectivePolicy } from "./replica.ts";

/** A log that holds one effective entry. */
function oneEntry(): LogMirror {
  const epoch = { number: 1n, site: "eu" };
  const entry = create(policyV1.EntrySchema, { epoch, seq: 1n, key: userKey("bob"), doc: userDoc("bob") });
  const position = create(policyV1.PositionSchema, positionToWire(positionOf(entry)));
  const mirror = new LogMirror();
  mirror.ingest(entrySubject(positionOf(entry)), toBinary(policyV1.EntrySchema, entry));
  mirror.ingest(COMMIT_SUBJECT, toBinary(policyV1.PositionSchema, position));
  return mirror;
}

describe("freshness on the bulletin", () => {
  it("counts only once what it speaks about is folded, and ignores what it cannot read", async () => {
    await using cluster = await PolicyCluster.create();
    await using logs = await cluster.openLogs("eu");
    const writer = new EffectivePolicy(clock);
    writer.advance(oneEntry());
    const reader = new EffectivePolicy(clock);
    const stop = new AbortController();
    const following = followFreshness(logs.bulletin, reader, clock, stop.signal);

    logs.bulletin.publish("policy.fresh", Buffer.from("nonsense"));
    publishFreshness(logs.bulletin, writer, Number.POSITIVE_INFINITY);
    publishFreshness(logs.bulletin, writer, 1_000);
    // Messages inside a process arrive before the next turn of the event loop.
    await nextTurn();
    assert.equal(reader.freshness.ageMs(), Number.POSITIVE_INFINITY, "the entry is not folded here");

    reader.advance(oneEntry());
    assert.ok(reader.freshness.ageMs() >= 1_000, "older by what the replica said");
    publishFreshness(logs.bulletin, writer, 0);
    await eventually(() => reader.freshness.ageMs() < 1_000, "a newer word counts");
    stop.abort();
    await following;
  });
});
