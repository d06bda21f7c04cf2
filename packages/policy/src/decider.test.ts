import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { create } from "@bufbuild/protobuf";
import { policyV1 } from "@meridian/wire";
import { grantDoc, userDoc } from "./cluster.fixture.ts";
import { type AnonymousAccess, GrantDecider } from "./decider.ts";
import type { Action, Principal, Resource } from "./decision.ts";
import { grantKey, type PolicyDoc, userKey } from "./entry-key.ts";
import { PolicyState } from "./state.ts";

class Bench {
  readonly state = new PolicyState();
  expired = false;
  readonly decider: GrantDecider;

  constructor(anonymous: AnonymousAccess = "off") {
    this.decider = new GrantDecider(this, anonymous);
  }

  ageMs(): number {
    return 0;
  }

  put(key: string, doc: PolicyDoc): void {
    const seq = BigInt(this.state.seq + 1);
    const baseRev = BigInt(this.state.revisionOf(key));
    this.state.apply(create(policyV1.EntrySchema, { epoch: { number: 1n, site: "eu" }, seq, baseRev, key, doc }));
  }

  user(name: string, disabled = false): void {
    this.put(userKey(name), userDoc(name, "hash", disabled));
  }

  grant(principal: string, prefix: string, role: policyV1.Role): void {
    this.put(grantKey(principal, prefix), grantDoc(principal, prefix, role));
  }

  decide(principal: Principal, action: Action, repository?: string): string {
    const resource: Resource =
      repository === undefined ? { kind: "registry" } : { kind: "repository", name: repository };
    const { allow, policyId } = this.decider.decide(principal, action, resource, { site: "eu" });
    return `${allow ? "allow" : "deny"} ${policyId}`;
  }
}

const bob: Principal = { name: "bob" };
const nobody: Principal = { name: undefined };

describe("decider", () => {
  it("denies what nothing allows", () => {
    const bench = new Bench();
    bench.user("bob");
    assert.equal(bench.decide(bob, "pull", "apps/web"), "deny default-deny");
    assert.equal(bench.decide(nobody, "pull", "apps/web"), "deny default-deny");
    assert.equal(bench.decide({ name: "eve" }, "pull", "apps/web"), "deny unknown-user");
  });

  it("gives each role its actions", () => {
    const bench = new Bench();
    const allowed = (role: policyV1.Role): Action[] => {
      bench.user("bob");
      bench.grant("bob", "", role);
      const onRepository = (["pull", "push", "delete", "admin"] as const).filter((action) =>
        bench.decide(bob, action, "a").startsWith("allow"),
      );
      const onRegistry = (["catalog"] as const).filter((action) => bench.decide(bob, action).startsWith("allow"));
      return [...onRepository, ...onRegistry];
    };
    assert.deepEqual(allowed(policyV1.Role.PULL), ["pull"]);
    assert.deepEqual(allowed(policyV1.Role.PUSH), ["pull", "push", "delete"]);
    assert.deepEqual(allowed(policyV1.Role.ADMIN), ["pull", "push", "delete", "admin", "catalog"]);
    assert.deepEqual(allowed(policyV1.Role.UNSPECIFIED), []);
  });

  it("matches whole path components only", () => {
    const bench = new Bench();
    bench.user("bob");
    bench.grant("bob", "apps", policyV1.Role.PULL);
    for (const name of ["apps", "apps/web", "apps/web/x"])
      assert.equal(bench.decide(bob, "pull", name), "allow grant/bob/apps/pull");
    for (const name of ["app", "apps-internal", "apps2/web", "x/apps"])
      assert.equal(bench.decide(bob, "pull", name), "deny default-deny");
  });

  it("keeps the registry to administrators of everything", () => {
    const bench = new Bench();
    bench.user("bob");
    bench.grant("bob", "apps", policyV1.Role.ADMIN);
    assert.equal(bench.decide(bob, "admin", "apps/web"), "allow grant/bob/apps/admin");
    assert.equal(bench.decide(bob, "admin"), "deny default-deny");
    assert.equal(bench.decide(bob, "catalog"), "deny default-deny");
    bench.grant("bob", "", policyV1.Role.ADMIN);
    assert.equal(bench.decide(bob, "admin"), "allow grant/bob//admin");
  });

  it("gives everybody what is granted to *, but no disabled user", () => {
    const bench = new Bench();
    bench.user("bob");
    bench.user("eve", true);
    bench.grant("*", "public", policyV1.Role.PULL);
    bench.grant("eve", "", policyV1.Role.ADMIN);
    assert.equal(bench.decide(nobody, "pull", "public/a"), "allow grant/*/public/pull");
    assert.equal(bench.decide(bob, "pull", "public/a"), "allow grant/*/public/pull");
    assert.equal(bench.decide({ name: "eve" }, "pull", "public/a"), "deny disabled-user");
  });

  it("decides anew at each revision", () => {
    const bench = new Bench();
    bench.user("bob");
    assert.equal(bench.decide(bob, "pull", "a"), "deny default-deny");
    bench.grant("bob", "a", policyV1.Role.PULL);
    assert.equal(bench.decide(bob, "pull", "a"), "allow grant/bob/a/pull");
    bench.user("bob", true);
    assert.equal(bench.decide(bob, "pull", "a"), "deny disabled-user");
    const { revision } = bench.decider.decide(bob, "pull", { kind: "repository", name: "a" }, { site: "eu" });
    assert.equal(revision, "1.3");
  });

  it("answers a question it has answered with the same object", () => {
    const bench = new Bench();
    bench.user("bob");
    const ask = () => bench.decider.decide(bob, "pull", { kind: "repository", name: "a" }, { site: "eu" });
    assert.equal(ask(), ask());
  });

  it("allows nothing by a policy that is too old", () => {
    const bench = new Bench();
    bench.user("bob");
    bench.grant("bob", "", policyV1.Role.ADMIN);
    assert.equal(bench.decide(bob, "pull", "a"), "allow grant/bob//admin");
    bench.expired = true;
    assert.equal(bench.decide(bob, "pull", "a"), "deny policy-expired");
  });

  it("opens a development cluster to anonymous requests when told to", () => {
    assert.equal(new Bench().decide({ name: undefined, superuser: true }, "admin"), "allow anonymous-admin");
    assert.equal(new Bench("admin").decide(nobody, "admin"), "allow anonymous-admin");
    assert.equal(new Bench("pull").decide(nobody, "pull", "a"), "allow anonymous-pull");
    assert.equal(new Bench("pull").decide(nobody, "push", "a"), "deny default-deny");
    assert.equal(new Bench("pull").decide(nobody, "catalog"), "deny default-deny");
  });
});
