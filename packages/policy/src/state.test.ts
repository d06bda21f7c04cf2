import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { isContentError } from "@meridian/oci";
import { createSystemClock } from "@meridian/runtime";
import { policyV1 } from "@meridian/wire";
import fc from "fast-check";
import { grantDoc, userDoc } from "./cluster.fixture.ts";
import { grantKey, type PolicyDoc, userKey } from "./entry-key.ts";
import { COMMIT_SUBJECT, entrySubject, LogMirror } from "./log-mirror.ts";
import { positionOf, positionToWire } from "./position.ts";
import { EffectivePolicy } from "./replica.ts";
import { PolicyState } from "./state.ts";

interface EntryPlace {
  seq: number;
  key: string;
  doc: PolicyDoc;
  baseRev: number;
  epoch?: number;
}

function entryOf({ seq, key, doc, baseRev, epoch = 1 }: EntryPlace): policyV1.Entry {
  return create(policyV1.EntrySchema, {
    format: 1,
    epoch: { number: BigInt(epoch), site: "eu" },
    seq: BigInt(seq),
    baseRev: BigInt(baseRev),
    opId: `op ${epoch}.${seq}`,
    key,
    doc,
  });
}

const removed: PolicyDoc = { case: "removed", value: create(policyV1.RemovedSchema) };

/** Everything that a decision could depend on. */
function snapshot(state: PolicyState): unknown {
  const grants = [...state.grants].map(([principal, held]) => [
    principal,
    held.map(({ repositoryPrefix, role }) => [repositoryPrefix, role]),
  ]);
  return {
    revision: state.revision,
    users: [...state.users.values()].map(({ name, passwordHash }) => [name, passwordHash]).toSorted(),
    grants: grants.toSorted(),
    revisions: KEYS.map((key) => state.revisionOf(key)),
    superseded: Array.from({ length: state.seq }, (_, index) => state.wasSuperseded(index + 1)),
  };
}

const NAMES = ["alice", "bob"];
const KEYS = [...NAMES.map(userKey), ...NAMES.map((name) => grantKey(name, "apps"))];

interface Step {
  readonly name: string;
  readonly what: "user" | "grant" | "remove user" | "remove grant";
  /** How many revisions the writer lags behind. */
  readonly lag: number;
  /** Entries of the old epoch that a new one abandons; undefined when the epoch goes on. */
  readonly abandoned: number | undefined;
}

const step: fc.Arbitrary<Step> = fc.record({
  name: fc.constantFrom(...NAMES),
  what: fc.constantFrom("user", "grant", "remove user", "remove grant"),
  lag: fc.constantFrom(0, 0, 0, 1),
  abandoned: fc.option(fc.integer({ min: 0, max: 3 }), { nil: undefined, freq: 4 }),
});

interface Message {
  readonly subject: string;
  readonly payload: Uint8Array;
}

/** What the home decided: the committed log, the states it leads to, and how it came into a member's stream. */
class History {
  readonly entries: policyV1.Entry[] = [];
  readonly states: unknown[] = [];
  readonly stream: Message[] = [];
  readonly applied: string[] = [];

  constructor(steps: readonly Step[], commitEvery: number) {
    const state = new PolicyState();
    this.states.push(snapshot(state));
    let epoch = 1;
    for (const [index, planned] of steps.entries()) {
      const seq = index + 1;
      if (planned.abandoned !== undefined) {
        this.#abandon(seq, epoch, planned.abandoned);
        epoch++;
      }
      const entry = this.#entry(planned, seq, epoch, state);
      if (state.apply(entry) === "applied") this.applied.push(`${entry.key} ${entry.baseRev}`);
      this.entries.push(entry);
      this.states.push(snapshot(state));
      this.#append(entry);
      if (seq % commitEvery === 0 || seq === steps.length) this.#commit(entry);
    }
  }

  #entry({ name, what, lag }: Step, seq: number, epoch: number, state: PolicyState): policyV1.Entry {
    const key = what.endsWith("user") ? userKey(name) : grantKey(name, "apps");
    const baseRev = Math.max(0, state.revisionOf(key) - lag);
    const doc = what === "user" ? userDoc(name, `hash ${seq}`) : grantDoc(name, "apps", policyV1.Role.PULL);
    return entryOf({ seq, key, doc: what.startsWith("remove") ? removed : doc, baseRev, epoch });
  }

  /** Entries that never reached a quorum: written, then dropped, last first. */
  #abandon(seq: number, epoch: number, count: number): void {
    const lost = Array.from({ length: count }, (_, index) =>
      entryOf({ seq: seq + index, key: userKey("mallory"), doc: userDoc("mallory"), baseRev: 0, epoch }),
    );
    for (const entry of lost) this.#append(entry);
    for (const entry of lost.toReversed())
      this.stream.push({ subject: entrySubject(positionOf(entry)), payload: new Uint8Array() });
  }

  #append(entry: policyV1.Entry): void {
    this.stream.push({ subject: entrySubject(positionOf(entry)), payload: toBinary(policyV1.EntrySchema, entry) });
  }

  #commit(entry: policyV1.Entry): void {
    const position = create(policyV1.PositionSchema, positionToWire(positionOf(entry)));
    this.stream.push({ subject: COMMIT_SUBJECT, payload: toBinary(policyV1.PositionSchema, position) });
  }
}

/** What a compacted log still holds: the last message of each subject, in order. */
function compacted(stream: readonly Message[]): Message[] {
  const last = new Map(stream.map((message, index) => [message.subject, index]));
  return stream.filter((message, index) => last.get(message.subject) === index);
}

describe("policy fold", () => {
  it("folds to the same state at the same revision, whatever was compacted, dropped, replayed or read when", () => {
    fc.assert(
      fc.property(
        fc.array(step, { minLength: 1, maxLength: 25 }),
        fc.integer({ min: 1, max: 4 }),
        fc.array(fc.record({ upTo: fc.nat(100), fresh: fc.boolean(), again: fc.nat(5) }), { maxLength: 12 }),
        (steps, commitEvery, reads) => {
          const history = new History(steps, commitEvery);
          const effective = new EffectivePolicy(createSystemClock());
          let mirror = new LogMirror();
          let at = 0;
          const ends = reads.map(({ upTo }) => upTo % (history.stream.length + 1)).toSorted((a, b) => a - b);
          for (const [index, end] of [...ends, history.stream.length].entries()) {
            const { fresh = false, again = 0 } = reads[index] ?? {};
            // Either a reader that starts anew and sees what compaction left, or one that goes on, with repetitions.
            if (fresh) mirror = new LogMirror();
            const messages = fresh
              ? compacted(history.stream.slice(0, end))
              : history.stream.slice(Math.max(0, at - again), end);
            for (const { subject, payload } of messages) {
              mirror.ingest(subject, payload);
              effective.advance(mirror);
              assert.deepEqual(snapshot(effective.state), history.states[effective.state.seq]);
            }
            if (index % 2 === 1) mirror.forget(effective.state.seq);
            at = end;
          }
          assert.equal(effective.state.seq, steps.length);
        },
      ),
      { numRuns: 300 },
    );
  });

  it("lets no two writers succeed on one base revision", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { applied } = new History(steps, 1);
        assert.equal(new Set(applied).size, applied.length);
      }),
    );
  });

  it("refuses a gap, and takes no entry twice", () => {
    const state = new PolicyState();
    const entry = entryOf({ seq: 1, key: userKey("bob"), doc: userDoc("bob"), baseRev: 0 });
    assert.equal(state.apply(entry), "applied");
    assert.equal(state.apply(entry), "duplicate");
    const later = entryOf({ seq: 3, key: userKey("eve"), doc: userDoc("eve"), baseRev: 0 });
    assert.throws(
      () => state.apply(later),
      (error) => isContentError(error, "invalid"),
    );
  });

  it("ignores entries of an older epoch, and those under another's key", () => {
    const state = new PolicyState();
    state.apply(entryOf({ seq: 1, key: userKey("bob"), doc: userDoc("bob"), baseRev: 0, epoch: 2 }));
    const old = entryOf({ seq: 2, key: userKey("eve"), doc: userDoc("eve"), baseRev: 0, epoch: 1 });
    assert.equal(state.apply(old), "superseded");
    assert.equal(state.revision, "2.2");
    const wrong = entryOf({ seq: 3, key: userKey("bob"), doc: userDoc("eve"), baseRev: 1, epoch: 2 });
    assert.equal(state.apply(wrong), "superseded");
    assert.deepEqual([...state.users.keys()], ["bob"]);
  });

  it("takes a user's grants away with the user", () => {
    const state = new PolicyState();
    const grant = grantDoc("bob", "apps", policyV1.Role.PUSH);
    state.apply(entryOf({ seq: 1, key: userKey("bob"), doc: userDoc("bob"), baseRev: 0 }));
    state.apply(entryOf({ seq: 2, key: grantKey("bob", "apps"), doc: grant, baseRev: 0 }));
    state.apply(entryOf({ seq: 3, key: userKey("bob"), doc: removed, baseRev: 1 }));
    assert.equal(state.grants.has("bob"), false);
    const late = entryOf({ seq: 4, key: grantKey("bob", "apps"), doc: grant, baseRev: 2 });
    assert.equal(state.apply(late), "superseded", "a grant decided before the removal is not current any more");
  });

  it("keeps the revision of what a newer version wrote, though it does not understand it", () => {
    const state = new PolicyState();
    const unknown = entryOf({ seq: 1, key: "repo/apps", doc: { case: undefined }, baseRev: 0 });
    assert.equal(state.apply(unknown), "applied");
    assert.equal(state.revisionOf("repo/apps"), 1);
  });
});
