import assert from "node:assert/strict";
import { stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, it } from "node:test";
import { create } from "@bufbuild/protobuf";
import { isContentError } from "@meridian/oci";
import { signingKeyKey } from "@meridian/policy";
import { policyV1 } from "@meridian/wire";
import { AuthCluster, eventually, SITES } from "./cluster.fixture.ts";

const BOB = "a good password";

async function addUser(cluster: AuthCluster, name: string, grants: Record<string, string> = {}): Promise<void> {
  const token = await cluster.login("eu");
  const { client } = cluster.site("eu");
  await client.putUser({ token, name, password: BOB });
  for (const [repositoryPrefix, role] of Object.entries(grants))
    await client.putGrant({ token, principal: name, repositoryPrefix, role });
  const { seq } = cluster.site("eu").policy.state;
  for (const site of SITES) await eventually(() => cluster.site(site).policy.state.seq >= seq, `${site} folds ${name}`);
}

describe("auth of three sites", () => {
  it("says what it waits for, and is ready once home and majority are there", async () => {
    await using cluster = await AuthCluster.create();
    await cluster.start("us");
    await eventually(async () => /home eu cannot be reached/.test((await cluster.obstacle("us")) ?? ""), "us says so");
    await assert.rejects(cluster.issue("us", {}), (error) => isContentError(error, "unavailable"));
    await cluster.start("eu");
    await eventually(async () => /\bap\b/.test((await cluster.obstacle("eu")) ?? ""), "eu says who is missing");
    await cluster.start("ap");
    for (const site of SITES) await eventually(() => cluster.isReady(site), `${site} is ready`);
    assert.deepEqual(cluster.site("us").policy.members, SITES);
    assert.deepEqual([...cluster.site("us").policy.state.members], SITES);
  });

  it("issues tokens that every site accepts, also when the issuer is gone", async () => {
    await using cluster = await AuthCluster.ready();
    const token = await cluster.login("eu", "admin", undefined, ["repository:apps/web:pull,push"]);
    for (const site of SITES) {
      const claims = cluster.verify(site, token);
      assert.equal(claims?.principal.name, "admin");
      assert.deepEqual([...(claims?.scopes.get("apps/web") ?? [])], ["pull", "push"]);
    }
    await cluster.stop("eu");
    assert.ok(cluster.verify("us", token));
    assert.ok(cluster.verify("ap", await cluster.login("us")), "us issues without the home");
  });

  it("keeps users, grants and keys over a restart of everything", async () => {
    await using cluster = await AuthCluster.ready();
    await addUser(cluster, "bob", { apps: "push" });
    const token = await cluster.login("us", "bob", BOB, ["repository:apps/web:push"]);
    for (const site of SITES) await cluster.stop(site);
    // Another password in the configuration changes nothing any more.
    for (const site of ["us", "ap"]) await cluster.start(site);
    assert.ok(await cluster.isReady("us"), "ready at once, without the home");
    assert.equal(cluster.verify("us", token)?.principal.name, "bob");
    assert.ok(cluster.verify("ap", await cluster.login("ap", "bob", BOB)));
    await cluster.start("eu");
    await eventually(() => cluster.isReady("eu"), "eu is ready");
    await cluster.login("eu");
  });

  it("refuses a disabled or removed user at once, its tokens too", async () => {
    await using cluster = await AuthCluster.ready();
    await addUser(cluster, "bob", { "": "pull" });
    const issued = await cluster.issue("us", { credentials: { username: "bob", password: BOB }, offlineToken: true });
    const { token, refreshToken } = issued;
    const { client, policy } = cluster.site("us");
    const admin = await cluster.login("us");
    await client.putUser({ token: admin, name: "bob", disabled: true });
    assert.equal(cluster.verify("us", token), undefined);
    const decision = policy.decider.decide({ name: "bob" }, "pull", { kind: "repository", name: "a" }, { site: "us" });
    assert.equal(decision.policyId, "disabled-user");
    await assert.rejects(cluster.login("us", "bob", BOB), (error) => isContentError(error, "denied"));
    await assert.rejects(cluster.issue("us", { refreshToken }), (error) => isContentError(error, "denied"));
    await client.putUser({ token: admin, name: "bob", disabled: false });
    assert.ok(cluster.verify("us", token), "enabled again, the token counts again");
    await client.removeUser({ token: admin, name: "bob" });
    assert.equal(cluster.verify("us", token), undefined);
    assert.equal(policy.state.grants.has("bob"), false, "grants go with the user");
  });

  it("gives refresh tokens that hold at every site until the password changes", async () => {
    await using cluster = await AuthCluster.ready();
    await addUser(cluster, "bob", { apps: "pull" });
    const credentials = { username: "bob", password: BOB };
    const { refreshToken } = await cluster.issue("us", { credentials, offlineToken: true });
    assert.notEqual(refreshToken, "");
    assert.equal(cluster.verify("us", refreshToken), undefined, "a refresh token is no access token");
    await cluster.stop("us");
    const again = await cluster.issue("ap", { refreshToken, scopes: ["repository:apps/web:pull"] });
    assert.equal(again.refreshToken, refreshToken);
    assert.deepEqual([...cluster.verify("ap", again.token)!.scopes.keys()], ["apps/web"]);
    const admin = await cluster.login("eu");
    await assert.rejects(cluster.issue("ap", { refreshToken: admin }), /refresh token is not valid/);
    await cluster.site("ap").client.putUser({ token: admin, name: "bob", password: "another password" });
    await assert.rejects(cluster.issue("ap", { refreshToken }), /refresh token is not valid/);
  });

  it("gives anonymous requests a token with what is public", async () => {
    await using cluster = await AuthCluster.ready();
    const scopes = ["repository:public/a:pull,push", "repository:private/a:pull"];
    const before = await cluster.issue("us", { scopes });
    assert.equal(cluster.verify("us", before.token)?.scopes.size, 0);
    const token = await cluster.login("us");
    await cluster.site("us").client.putGrant({ token, principal: "*", repositoryPrefix: "public", role: "pull" });
    const anonymous = await cluster.issue("us", {
      scopes,
      credentials: { username: "", password: "" },
      offlineToken: true,
    });
    const claims = cluster.verify("us", anonymous.token);
    assert.equal(claims?.principal.name, undefined);
    assert.deepEqual(
      [...claims!.scopes].map(([name, actions]) => [name, [...actions]]),
      [["public/a", ["pull"]]],
    );
    assert.equal(anonymous.refreshToken, "");
    assert.ok(anonymous.expiresIn >= 300);
  });

  it("keeps administration to administrators, and one of them in office", async () => {
    await using cluster = await AuthCluster.ready();
    await addUser(cluster, "bob", { "": "push" });
    const { client } = cluster.site("eu");
    const bob = await cluster.login("eu", "bob", BOB);
    for (const token of [bob, "", "nonsense"])
      await assert.rejects(client.putUser({ token, name: "eve", password: BOB }), (error) =>
        isContentError(error, "denied"),
      );
    const token = await cluster.login("eu");
    const refused = (kind: string) => (error: unknown) => isContentError(error) && error.kind === kind;
    await assert.rejects(client.removeUser({ token, name: "admin" }), refused("precondition"));
    await assert.rejects(client.putUser({ token, name: "admin", disabled: true }), refused("precondition"));
    await assert.rejects(client.putGrant({ token, principal: "admin", role: "push" }), refused("precondition"));
    await assert.rejects(client.putUser({ token, name: "eve", password: "short" }), refused("invalid"));
    await assert.rejects(client.putUser({ token, name: "Eve:", password: BOB }), refused("invalid"));
    await assert.rejects(client.putUser({ token, name: "eve" }), refused("invalid"));
    await assert.rejects(client.putGrant({ token, principal: "bob", role: "king" }), refused("invalid"));
    await assert.rejects(client.putGrant({ token, principal: "*", role: "admin" }), refused("invalid"));
    await assert.rejects(client.putGrant({ token, principal: "eve", role: "pull" }), refused("not-found"));
    await assert.rejects(client.removeUser({ token, name: "eve" }), refused("not-found"));
    await client.putGrant({ token, principal: "bob", role: "admin" });
    await client.removeUser({ token, name: "admin" });
    const { users } = await client.listUsers({ token: bob });
    assert.deepEqual(
      users.map(({ name, grants }) => [name, grants.map(({ role }) => role)]),
      [["bob", ["admin"]]],
    );
  });

  it("lists users and answers a change with its revision", async () => {
    await using cluster = await AuthCluster.ready(["eu"]);
    const token = await cluster.login("eu");
    const { client, policy } = cluster.site("eu");
    const { revision } = await client.putUser({ token, name: "bob", password: BOB });
    assert.equal(revision, policy.state.revision);
    const unchanged = await client.putUser({ token, name: "bob" });
    assert.equal(unchanged.revision, revision, "nothing to change makes no entry");
    assert.deepEqual(
      (await client.listUsers({ token })).users.map(({ name }) => name),
      ["admin", "bob"],
    );
  });

  it("lets one of two concurrent changes of a user win", async () => {
    await using cluster = await AuthCluster.ready();
    await addUser(cluster, "bob");
    const token = await cluster.login("eu");
    const outcomes = await Promise.allSettled(
      SITES.map((site) => cluster.site(site).client.putUser({ token, name: "bob", password: `password of ${site}` })),
    );
    const won = SITES.filter((_, index) => outcomes[index]!.status === "fulfilled");
    assert.equal(won.length, 1);
    for (const outcome of outcomes)
      if (outcome.status === "rejected") assert.ok(isContentError(outcome.reason, "conflict"), String(outcome.reason));
    await cluster.login(won[0]!, "bob", `password of ${won[0]}`);
  });

  it("refuses changes while the home is away, and says so", async () => {
    await using cluster = await AuthCluster.ready();
    const token = await cluster.login("us");
    await cluster.stop("eu");
    await eventually(() => cluster.site("us").policy.ageMs() > 100, "us misses the home");
    const change = cluster.site("us").client.putUser({ token, name: "bob", password: BOB });
    await assert.rejects(change, (error) => {
      assert.ok(isContentError(error, "unavailable"));
      assert.match(error.message, /policy home eu cannot be reached from us/);
      return true;
    });
    assert.equal(cluster.site("us").policy.state.users.has("bob"), false);
  });

  it("makes a new signing key when the old one is revoked", async () => {
    await using cluster = await AuthCluster.ready(["eu"]);
    const token = await cluster.login("eu");
    const { policy } = cluster.site("eu");
    const [keyId] = [...policy.state.keys.keys()];
    const key = signingKeyKey(keyId!);
    const doc = { case: "removed", value: create(policyV1.RemovedSchema) } as const;
    await policy.propose({ key, doc, baseRev: policy.state.revisionOf(key), who: "test" });
    assert.equal(cluster.verify("eu", token), undefined);
    await eventually(() => cluster.isReady("eu"), "eu has a new key");
    assert.ok(cluster.verify("eu", await cluster.login("eu")));
    assert.equal(policy.state.keys.has(keyId!), false);
  });

  it("keeps the private key to its owner, and refuses a file that is none", async () => {
    await using cluster = await AuthCluster.ready(["eu"]);
    const path = join(cluster.dataDir("eu"), "auth", "signing-key.pem");
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    await cluster.stop("eu");
    await writeFile(path, "nonsense");
    await assert.rejects(cluster.start("eu"), /holds no Ed25519 private key/);
  });
});
