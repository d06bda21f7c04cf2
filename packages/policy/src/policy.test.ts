import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { create } from "@bufbuild/protobuf";
import { isContentError } from "@meridian/oci";
import { createRpcChannel, createRpcServer } from "@meridian/rpc";
import { policyV1 } from "@meridian/wire";
import { eventually, grantDoc, HOME, log, PolicyCluster, SITES, silentLog, userDoc } from "./cluster.fixture.ts";
import { grantKey, userKey } from "./entry-key.ts";
import { openPolicy, type Policy } from "./policy.ts";

function putUser(policy: Policy, name: string, passwordHash = "hash", opId?: string) {
  const key = userKey(name);
  const baseRev = policy.state.revisionOf(key);
  return policy.propose({ key, doc: userDoc(name, passwordHash), baseRev, who: "test", ...(opId ? { opId } : {}) });
}

const repository = (name: string) => ({ kind: "repository", name }) as const;

describe("policy log of three sites", () => {
  it("makes a change effective at every site, whichever site it was asked at", async () => {
    await using cluster = await PolicyCluster.create();
    await cluster.startAll();
    const { revision } = await putUser(cluster.policy("us"), "alice");
    assert.equal(revision.seq, 1);
    assert.ok(cluster.policy("us").state.users.has("alice"), "the asked site has it at once");
    for (const site of SITES) {
      await eventually(() => cluster.policy(site).state.users.has("alice"), `${site} folds the change`);
      assert.equal(cluster.policy(site).state.revision, "1.1");
    }
  });

  it("changes nothing while two of three are away", async () => {
    await using cluster = await PolicyCluster.create();
    await cluster.startAll();
    await putUser(cluster.policy(HOME), "alice");
    cluster.cut("us");
    cluster.cut("ap");
    await eventually(() => cluster.policy(HOME).ageMs() > 300, "the home notices that its majority is gone");
    await assert.rejects(putUser(cluster.policy(HOME), "bob"), (error) => {
      assert.ok(isContentError(error, "unavailable"));
      assert.match(error.message, /policy home eu has no majority.*us, ap.*nothing was changed/);
      return true;
    });
    cluster.heal("us");
    await putUser(cluster.policy(HOME), "carol");
    assert.deepEqual([...cluster.policy(HOME).state.users.keys()], ["alice", "carol"]);
  });

  it("does not start a new log until every member said that its own is empty", async () => {
    await using cluster = await PolicyCluster.create();
    await cluster.start("eu");
    await cluster.start("us");
    await assert.rejects(putUser(cluster.policy("eu"), "alice"), /waits for ap to confirm that the cluster is new/);
    await cluster.start("ap");
    await putUser(cluster.policy("eu"), "alice");
  });

  it("goes on with two of three, and the third catches up", async () => {
    await using cluster = await PolicyCluster.create();
    await cluster.startAll();
    await putUser(cluster.policy(HOME), "alice");
    await cluster.stop("ap");
    for (const name of ["bob", "carol", "dave"]) await putUser(cluster.policy("us"), name);
    await cluster.start("ap");
    await eventually(() => cluster.policy("ap").state.users.size === 4, "ap catches up");
    assert.equal(cluster.policy("ap").state.revision, cluster.policy(HOME).state.revision);
  });

  it("keeps everything over a restart of all sites, and serves it without the home", async () => {
    await using cluster = await PolicyCluster.create();
    await cluster.startAll();
    await putUser(cluster.policy(HOME), "alice");
    const grant = grantDoc("alice", "apps", policyV1.Role.PULL);
    await cluster.policy(HOME).propose({ key: grantKey("alice", "apps"), doc: grant, baseRev: 0, who: "test" });
    await eventually(() => cluster.policy("us").state.seq === 2 && cluster.policy("ap").state.seq === 2, "all have it");
    for (const site of SITES) await cluster.stop(site);
    for (const site of ["us", "ap"]) {
      const policy = await cluster.start(site);
      const decision = policy.decider.decide({ name: "alice" }, "pull", repository("apps/web"), { site });
      assert.deepEqual(decision, { allow: true, policyId: "grant/alice/apps/pull", revision: "1.2" });
    }
    await assert.rejects(putUser(cluster.policy("us"), "bob"), /policy home eu cannot be reached from us/);
    await cluster.start("eu");
    await eventually(() => cluster.policy("us").ageMs() < 200, "us hears the home again");
    await putUser(cluster.policy("us"), "bob");
  });

  it("lets exactly one of many concurrent writers of a key win", async () => {
    await using cluster = await PolicyCluster.create();
    await cluster.startAll();
    await putUser(cluster.policy(HOME), "alice", "first");
    await eventually(() => SITES.every((site) => cluster.policy(site).state.seq === 1), "all have it");
    const racing = SITES.flatMap((site) => [0, 1, 2].map((n) => ({ site, hash: `${site}-${n}` })));
    const outcomes = await Promise.all(racing.map(({ site, hash }) => putUser(cluster.policy(site), "alice", hash)));
    const winners = racing.filter((_, index) => !outcomes[index]!.superseded);
    assert.equal(winners.length, 1);
    for (const site of SITES) {
      await eventually(
        () => cluster.policy(site).state.users.get("alice")?.passwordHash === winners[0]!.hash,
        `${site} shows the winner`,
      );
    }
  });

  it("answers a repeated operation by what became of the first", async () => {
    await using cluster = await PolicyCluster.create();
    await cluster.startAll();
    const policy = cluster.policy("us");
    const change = { key: userKey("alice"), doc: userDoc("alice"), baseRev: 0, who: "test", opId: "once" };
    const first = await policy.propose(change);
    await putUser(policy, "alice", "newer");
    assert.deepEqual(await policy.propose(change), first);
    assert.equal(policy.state.users.get("alice")?.passwordHash, "newer");
    assert.equal((await policy.propose({ ...change, opId: "late" })).superseded, true);
  });

  it("refuses entries that do not fit their key", async () => {
    await using cluster = await PolicyCluster.create(["eu"]);
    await cluster.startAll();
    const doc = userDoc("mallory");
    await assert.rejects(
      cluster.policy("eu").propose({ key: userKey("alice"), doc, baseRev: 0, who: "test" }),
      (error) => isContentError(error, "invalid"),
    );
    assert.equal(cluster.policy("eu").state.seq, 0);
  });

  it("ages while the link is cut, goes on deciding, and is fresh again when it heals", async () => {
    await using cluster = await PolicyCluster.create();
    await cluster.startAll();
    await putUser(cluster.policy(HOME), "alice");
    const us = cluster.policy("us");
    await eventually(() => us.state.seq === 1 && us.ageMs() < 200, "us is fresh");
    assert.equal(cluster.policy(HOME).ageMs(), 0);
    cluster.cut("us");
    await eventually(() => us.ageMs() > 300, "the age grows");
    assert.ok(us.state.users.has("alice"));
    cluster.heal("us");
    await eventually(() => us.ageMs() < 200, "the age returns");
  });

  it("closes when the policy is older than its greatest age, and opens again", async () => {
    await using cluster = await PolicyCluster.create();
    await cluster.start("eu");
    await cluster.start("ap");
    const us = await cluster.start("us", { maxPolicyAgeMs: 1_500, anonymous: "pull" });
    await putUser(cluster.policy(HOME), "alice");
    const decide = () => us.decider.decide({ name: undefined }, "pull", repository("a"), { site: "us" });
    await eventually(() => decide().allow, "us has a policy");
    cluster.cut("us");
    await eventually(() => decide().policyId === "policy-expired", "us closes");
    await assert.rejects(us.checks[0]!.check(AbortSignal.timeout(1_000)), /too old/);
    cluster.heal("us");
    await eventually(() => decide().allow, "us opens again");
  });

  it("knows after a restart without the home how old its policy is", async () => {
    await using cluster = await PolicyCluster.create();
    await cluster.startAll();
    await putUser(cluster.policy(HOME), "alice");
    await eventually(() => cluster.policy("us").state.seq === 1, "us has it");
    await cluster.stop("us");
    await cluster.stop("eu");
    const us = await cluster.start("us");
    const age = us.ageMs();
    assert.ok(age >= 0 && age < 60_000, `the age is ${age} ms`);
    await assert.rejects(putUser(us, "bob"), /cannot be reached/);
  });

  it("lets other processes of the site read the log and its age", async () => {
    await using cluster = await PolicyCluster.create();
    await cluster.startAll();
    await using reader = await openPolicy({ ...cluster.options("us", cluster.logs("us")), role: "reader" });
    assert.equal(reader.service, undefined);
    await putUser(cluster.policy("us"), "alice");
    await eventually(() => reader.state.users.has("alice"), "the reader folds it");
    await eventually(() => reader.ageMs() < 250, "the reader hears how fresh it is");
    cluster.cut("us");
    await eventually(() => reader.ageMs() > 300, "the reader's age grows too");
    await assert.rejects(putUser(reader, "bob"), /auth process/);
  });

  it("needs nobody when it is alone, and only the home when there are two", async () => {
    await using alone = await PolicyCluster.create(["eu"]);
    await alone.startAll();
    await putUser(alone.policy("eu"), "alice");
    await using two = await PolicyCluster.create(["eu", "us"]);
    await two.startAll();
    await putUser(two.policy("us"), "alice");
    await two.stop("us");
    await putUser(two.policy("eu"), "bob");
  });

  it("stops when the home has lost its log while a member holds it", async () => {
    await using cluster = await PolicyCluster.create();
    await cluster.startAll({ log: silentLog });
    await putUser(cluster.policy(HOME), "alice");
    await eventually(() => cluster.policy("us").state.seq === 1, "us has it");
    await cluster.stop(HOME);
    const logs = await cluster.openLogs(HOME);
    await logs.drop("POLICY");
    await logs[Symbol.asyncDispose]();
    const home = await cluster.start(HOME, { log: silentLog });
    await assert.rejects(putUser(home, "mallory"), /the policy log of eu has lost entries/);
    assert.ok(cluster.policy("us").state.users.has("alice"), "members keep what was effective");
  });

  it("works over gRPC as it does in one process", async () => {
    await using cluster = await PolicyCluster.create(["eu", "us"]);
    const home = await cluster.start(HOME);
    await using server = createRpcServer({ log });
    server.register(policyV1.PolicyLogService, home.service!);
    const { address } = await server.listen({ host: "127.0.0.1", port: 0 });
    await using channel = createRpcChannel({ address, log });
    const client = channel.client(policyV1.PolicyLogService);
    const us = await cluster.start("us", { policyHome: () => client });
    await putUser(us, "alice");
    assert.ok(us.state.users.has("alice"));
    await eventually(() => us.ageMs() < 200, "us is fresh");
    const wrong = us.propose({ key: userKey("bob"), doc: userDoc("eve"), baseRev: 0, who: "test" });
    await assert.rejects(wrong, (error) => isContentError(error, "invalid"));
    await cluster.stop("us");
  });

  it("lets nobody tail in another site's name, or who is no member", async () => {
    await using cluster = await PolicyCluster.create(["eu", "us"]);
    const { service } = await cluster.start(HOME);
    const tail = async (site: string, peerSite: string): Promise<void> => {
      const peer = { trustDomain: "test", site: peerSite, service: "auth" };
      const hello = { case: "hello", value: create(policyV1.TailHelloSchema, { versions: [1], site }) } as const;
      const requests = (async function* () {
        yield create(policyV1.TailRequestSchema, { message: hello });
      })();
      for await (const _ of service!.tail(requests, { signal: AbortSignal.timeout(2_000), peer })) return;
    };
    await tail("us", "us");
    await assert.rejects(tail("us", "ap"), (error) => isContentError(error, "denied"));
    await assert.rejects(tail("ap", "ap"), (error) => isContentError(error, "denied"));
  });
});
