import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { create, toBinary } from "@bufbuild/protobuf";
import { isContentError } from "@meridian/oci";
import { policyV1 } from "@meridian/wire";
import fc from "fast-check";
import { eventually, FAST, PolicyCluster, silentLog, userDoc } from "./cluster.fixture.ts";
import { memberKey, type PolicyDoc, SETTINGS_KEY, signingKeyKey, userKey } from "./entry-key.ts";
import { COMMIT_SUBJECT, entrySubject, LogMirror } from "./log-mirror.ts";
import { type Membership, membershipToWire } from "./membership.ts";
import type { Policy } from "./policy.ts";
import { positionOf, positionToWire } from "./position.ts";
import { EffectivePolicy } from "./replica.ts";

const HOME = "eu";

function memberDoc(site: string, membership: Membership, more: { acceptLoss?: boolean } = {}): PolicyDoc {
  const value = create(policyV1.MemberSchema, { site, state: membershipToWire(membership), ...more });
  return { case: "member", value };
}

function put(policy: Policy, site: string, membership: Membership, more: { acceptLoss?: boolean } = {}) {
  const key = memberKey(site);
  const doc = memberDoc(site, membership, more);
  return policy.propose({ key, doc, baseRev: policy.state.revisionOf(key), who: "test" });
}

/** A cluster whose log names its members: the first is the home. */
async function named(...sites: string[]): Promise<PolicyCluster> {
  const cluster = await PolicyCluster.create(sites);
  await cluster.startAll({ log: silentLog });
  const home = cluster.policy(HOME);
  for (const site of sites) await put(home, site, "active");
  const doc: PolicyDoc = { case: "settings", value: create(policyV1.SettingsSchema) };
  await home.propose({ key: SETTINGS_KEY, doc, baseRev: 0, who: "test" });
  return cluster;
}

const putUser = (policy: Policy, name: string) =>
  policy.propose({ key: userKey(name), doc: userDoc(name), baseRev: 0, who: "test" });

const fails = (kind: string, message: RegExp) => (error: unknown) => {
  assert.ok(isContentError(error), String(error));
  assert.equal(error.kind, kind);
  assert.match(error.message, message);
  return true;
};

describe("members of the policy log", () => {
  it("takes in a site once it asks for the log, when old and new members hold that: of two both", async () => {
    await using cluster = await named("eu");
    const home = cluster.policy(HOME);
    await assert.rejects(put(home, "us", "active"), fails("unavailable", /us does not ask eu.*nothing was changed/));
    assert.deepEqual(home.members, ["eu"], "one that cannot follow would hold up every later change");
    const us = await cluster.start("us", { sites: ["eu", "us"], log: silentLog });
    await untilDone(() => put(home, "us", "active"));
    assert.deepEqual(home.members, ["eu", "us"]);
    await eventually(() => us.members.includes("us") && us.state.settings !== undefined, "us follows the log");
    await putUser(us, "alice");
    assert.ok(home.state.users.has("alice"));
  });

  it("counts the new majority from the change on", async () => {
    await using cluster = await named("eu", "us");
    await cluster.start("ap", { sites: ["eu", "us", "ap"], log: silentLog });
    await untilDone(() => put(cluster.policy(HOME), "ap", "active"));
    cluster.cut("us");
    await putUser(cluster.policy("ap"), "alice");
    cluster.cut("ap");
    await eventually(() => cluster.policy(HOME).ageMs() > 300, "the home notices that its majority is gone");
    await assert.rejects(putUser(cluster.policy(HOME), "bob"), /no majority/);
  });

  it("changes two members only when both hold it, or loss is accepted", async () => {
    await using cluster = await named("eu", "us");
    const home = cluster.policy(HOME);
    await cluster.stop("us");
    const stopped = performance.now();
    await eventually(() => performance.now() - stopped > 2 * FAST.silentMs, "us counts as silent");
    await assert.rejects(
      put(home, "us", "expelled"),
      fails("unavailable", /both have to hold.*us cannot be reached; nothing was changed.*--accept-loss/),
    );
    await putUser(home, "alice");
    assert.deepEqual(home.members, ["eu", "us"]);
    await put(home, "us", "expelled", { acceptLoss: true });
    assert.deepEqual(home.members, ["eu"]);
  });

  it("goes on, once loss is accepted, with a change that the other one of two never got", async () => {
    await using cluster = await named("eu", "us");
    const home = cluster.policy(HOME);
    cluster.cut("us");
    await assert.rejects(put(home, "us", "expelled"), fails("unavailable", /may still take effect/));
    await assert.rejects(put(home, "us", "removed"), fails("conflict", /one at a time.*us is not effective yet/));
    assert.deepEqual(home.members, ["eu", "us"], "it is not in effect");
    await put(home, "us", "expelled", { acceptLoss: true });
    assert.deepEqual(home.members, ["eu"]);
  });

  it("never ends the membership of its home", async () => {
    await using cluster = await named("eu", "us");
    await assert.rejects(put(cluster.policy("us"), "eu", "removed"), /eu is the home of the policy log/);
  });

  it("tells a site that was removed while it followed, and one that was expelled while it was away", async () => {
    await using cluster = await named("eu", "us", "ap");
    const home = cluster.policy(HOME);
    await put(home, "us", "removed");
    await eventually(() => cluster.policy("us").exclusion?.state === "removed", "us knows");
    await cluster.stop("us");
    await cluster.stop("ap");
    await put(home, "ap", "expelled", { acceptLoss: true });
    const ap = await cluster.start("ap", { log: silentLog });
    await eventually(() => ap.exclusion?.state === "expelled", "ap is told");
    assert.equal(ap.exclusion?.revision, home.state.revision);
    await cluster.stop("ap");
    cluster.cut("ap");
    const again = await cluster.start("ap", { log: silentLog });
    assert.equal(again.exclusion?.state, "expelled", "also after a restart without the home");
    await putUser(home, "alice");
    assert.ok(!again.state.users.has("alice"), "it gets nothing of the log any more");
  });

  it("takes back a site that was removed, which then knows of its exclusion no more", async () => {
    await using cluster = await named("eu", "us", "ap");
    await cluster.stop("ap");
    await put(cluster.policy(HOME), "ap", "removed");
    const ap = await cluster.start("ap", { log: silentLog });
    await eventually(() => ap.exclusion !== undefined, "ap is told");
    await untilDone(() => put(cluster.policy(HOME), "ap", "active"));
    await eventually(() => ap.exclusion === undefined && ap.members.includes("ap"), "ap is a member");
  });

  it("forgets the signing keys of an expelled site, not those of a removed one", async () => {
    await using cluster = await named("eu", "us", "ap");
    const home = cluster.policy(HOME);
    for (const site of ["us", "ap"]) {
      const value = create(policyV1.SigningKeySchema, { site, keyId: site, publicKey: new Uint8Array(32) });
      await home.propose({ key: signingKeyKey(site), doc: { case: "signingKey", value }, baseRev: 0, who: "test" });
    }
    await put(home, "us", "removed");
    await put(home, "ap", "expelled", { acceptLoss: true });
    assert.deepEqual([...home.state.keys.keys()], ["us"]);
  });
});

const SITES = ["us", "ap", "sa"];

it("two members never disagree at a revision about who is one", () => {
  const step = fc.record({
    site: fc.constantFrom(...SITES),
    membership: fc.constantFrom<Membership>("active", "draining", "removed", "expelled"),
    lag: fc.constantFrom(0, 0, 1),
    gone: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 25 }), fc.infiniteStream(fc.nat(9)), (steps, chunks) => {
      const entries = entriesOf(steps);
      const home = new Map<string, string>();
      const whole = fold(
        entries,
        () => 1,
        (at, what) => home.set(at, what),
      );
      const other = fold(
        entries,
        () => 1 + (chunks.next().value ?? 0),
        (at, what) => assert.equal(what, home.get(at)),
      );
      assert.equal(other, whole);
    }),
  );
});

/** Folds the entries in chunks; `seen` is told what each revision that is reached shows. */
function fold(
  entries: readonly policyV1.Entry[],
  chunk: () => number,
  seen: (at: string, what: string) => void,
): string {
  const effective = new EffectivePolicy({ now: () => 0, monotonic: () => 0 });
  const mirror = new LogMirror();
  const shows = (): string => {
    const { state } = effective;
    const sites = [...state.sites.values()].map(({ site, state: how }) => `${site} ${how}`);
    return JSON.stringify([[...state.members].toSorted(), sites.toSorted()]);
  };
  for (let next = 0; next < entries.length; ) {
    const part = entries.slice(next, next + chunk());
    next += part.length;
    for (const entry of part) mirror.ingest(entrySubject(positionOf(entry)), toBinary(policyV1.EntrySchema, entry));
    const commit = create(policyV1.PositionSchema, positionToWire(positionOf(part.at(-1)!)));
    mirror.ingest(COMMIT_SUBJECT, toBinary(policyV1.PositionSchema, commit));
    effective.advance(mirror);
    seen(effective.state.revision, shows());
  }
  return shows();
}

function entriesOf(
  steps: readonly { site: string; membership: Membership; lag: number; gone: boolean }[],
): policyV1.Entry[] {
  const revisions = new Map<string, number>();
  return steps.map(({ site, membership, lag, gone }, index) => {
    const seq = index + 1;
    const known = revisions.get(site) ?? 0;
    const baseRev = Math.max(0, known - lag);
    if (baseRev === known) revisions.set(site, seq);
    const removed: PolicyDoc = { case: "removed", value: create(policyV1.RemovedSchema) };
    return create(policyV1.EntrySchema, {
      format: 1,
      epoch: { number: 1n, site: "eu" },
      seq: BigInt(seq),
      baseRev: BigInt(baseRev),
      opId: `op ${seq}`,
      key: memberKey(site),
      doc: gone ? removed : memberDoc(site, membership),
    });
  });
}

/** Tries again while the site has not reached the home yet. */
async function untilDone<T>(attempt: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + 5_000;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (performance.now() > deadline || !/does not ask/.test(String(error))) throw error;
      await pause(10);
    }
  }
}
