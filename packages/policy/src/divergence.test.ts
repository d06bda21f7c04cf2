import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { createLogger } from "@meridian/runtime";
import { policyV1 } from "@meridian/wire";
import { eventually, PolicyCluster, userDoc } from "./cluster.fixture.ts";
import { userKey } from "./entry-key.ts";
import { resumePoint } from "./home-session.ts";
import { COMMIT_SUBJECT, entrySubject, LogMirror } from "./log-mirror.ts";
import { POLICY_STREAM } from "./policy-reader.ts";
import { type Position, positionOf, positionToWire } from "./position.ts";

const place = (number: number, seq: number, site = "eu"): Position => ({ epoch: { number, site }, seq });

function entryAt(epoch: number, seq: number): policyV1.Entry {
  const name = `user${epoch}-${seq}`;
  return create(policyV1.EntrySchema, {
    ...positionToWire(place(epoch, seq)),
    format: 1,
    opId: `op ${epoch}.${seq}`,
    key: userKey(name),
    doc: userDoc(name),
  });
}

/** A log by the epochs of its entries. */
function mirrorOf(epochs: readonly number[]): LogMirror {
  const mirror = new LogMirror();
  for (const [index, epoch] of epochs.entries()) {
    const entry = entryAt(epoch, index + 1);
    mirror.ingest(entrySubject(positionOf(entry)), toBinary(policyV1.EntrySchema, entry));
  }
  return mirror;
}

async function writeLog(
  cluster: PolicyCluster,
  site: string,
  epochs: readonly number[],
  commit: number,
): Promise<void> {
  await using logs = await cluster.openLogs(site);
  const log = await logs.open(POLICY_STREAM);
  for (const [index, epoch] of epochs.entries()) {
    const entry = entryAt(epoch, index + 1);
    await log.append({ subject: entrySubject(positionOf(entry)), payload: toBinary(policyV1.EntrySchema, entry) });
  }
  const position = create(policyV1.PositionSchema, positionToWire(place(epochs[commit - 1] ?? 0, commit)));
  await log.append({ subject: COMMIT_SUBJECT, payload: toBinary(policyV1.PositionSchema, position) });
}

describe("where a member goes on", () => {
  const cases: [string, number[], Position | undefined, Position | undefined, boolean][] = [
    ["from the start, holding nothing", [1, 1], undefined, undefined, false],
    ["after what both hold", [1, 1, 1], place(1, 2), place(1, 2), false],
    ["before what only it holds", [1, 2], place(1, 2), place(1, 1), true],
    ["before several that only it holds", [1, 2, 2], place(1, 3), place(1, 1), true],
    ["at the home's end, when its log is longer", [1], place(1, 3), place(1, 1), true],
    ["from the start, when nothing agrees", [2, 2], place(1, 2), undefined, true],
  ];
  for (const [name, epochs, last, after, truncate] of cases)
    it(name, () => {
      const home = mirrorOf(epochs);
      const end = home.last && positionOf(home.last);
      assert.deepEqual(resumePoint(home, end, last), { after, truncate });
    });
});

describe("a member whose log differs from the home's", () => {
  it("drops what was never effective, and follows", async () => {
    await using cluster = await PolicyCluster.create(["eu", "us"]);
    await writeLog(cluster, "eu", [1, 3, 3], 3);
    await writeLog(cluster, "us", [1, 2, 2, 2], 1);
    await cluster.startAll();
    const us = cluster.policy("us");
    await eventually(() => us.state.seq === 3, "us follows");
    assert.deepEqual([...us.state.users.keys()], ["user1-1", "user3-2", "user3-3"]);
    await cluster.stop("us");
    const again = await cluster.start("us");
    assert.deepEqual([...again.state.users.keys()], ["user1-1", "user3-2", "user3-3"], "also after a restart");
  });

  it("keeps what is effective, and does not follow a home that has lost it", async () => {
    await using cluster = await PolicyCluster.create(["eu", "us"]);
    await writeLog(cluster, "eu", [1, 3], 2);
    await writeLog(cluster, "us", [1, 2, 2], 3);
    const lines: string[] = [];
    const eu = await cluster.start("eu");
    const us = await cluster.start("us", {
      log: createLogger({ level: "error", write: (line) => void lines.push(line) }),
    });
    assert.equal(us.state.seq, 3);
    // The home still takes changes (it is alone with two members), us must not mix them with its own.
    await eu.propose({ key: userKey("new"), doc: userDoc("new"), baseRev: 0, who: "test" });
    await eventually(() => lines.some((line) => line.includes("3 entries are effective here")), "us raises an alarm");
    assert.deepEqual([...us.state.users.keys()], ["user1-1", "user2-2", "user2-3"]);
    assert.equal(us.ageMs(), Number.POSITIVE_INFINITY);
  });
});
