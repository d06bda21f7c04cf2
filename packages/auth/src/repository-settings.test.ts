import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isContentError } from "@meridian/oci";
import { AuthCluster, eventually, SITES } from "./cluster.fixture.ts";

describe("what is set for repositories", () => {
  it("is effective at every site, is listed, and goes away again", async () => {
    await using cluster = await AuthCluster.ready();
    const token = await cluster.login("us");
    const { client } = cluster.site("us");
    await client.putRepositorySettings({ token, prefix: "apps", values: { tags: "home:ap" } });
    for (const site of SITES) {
      const { state } = cluster.site(site).policy;
      await eventually(() => state.repositories.of("apps/web").tags?.value.home === "ap", `${site} knows the home`);
    }
    const { settings } = await cluster.site("eu").client.listRepositorySettings({ token });
    assert.deepEqual(
      settings.map(({ prefix, values }) => [prefix, values]),
      [["apps", { tags: "home:ap" }]],
    );
    await client.putRepositorySettings({ token, prefix: "apps", values: { tags: "" } });
    assert.deepEqual(cluster.site("us").policy.state.repositories.entries(), []);
    const { revision } = await client.putRepositorySettings({ token, prefix: "apps", values: { tags: "" } });
    assert.equal(revision, cluster.site("us").policy.state.revision, "to take away nothing changes nothing");
  });

  it("is for administrators alone, and takes only what it knows", async () => {
    await using cluster = await AuthCluster.ready(["eu"]);
    const { client } = cluster.site("eu");
    const token = await cluster.login("eu");
    const values = { tags: "anywhere" };
    await client.putUser({ token, name: "bob", password: "a good password" });
    const bob = await cluster.login("eu", "bob", "a good password");
    const isKind = (kind: "denied" | "invalid") => (error: unknown) => isContentError(error, kind);
    await assert.rejects(client.putRepositorySettings({ token: bob, prefix: "", values }), isKind("denied"));
    await assert.rejects(client.listRepositorySettings({ token: bob }), isKind("denied"));
    for (const prefix of ["Apps", "/apps", "apps/", "a//b", "_meridian"])
      await assert.rejects(client.putRepositorySettings({ token, prefix, values }), isKind("invalid"), prefix);
    for (const wrong of [{ tags: "home:mars" }, { quota: "1" }])
      await assert.rejects(
        client.putRepositorySettings({ token, prefix: "", values: wrong as unknown as Record<string, string> }),
        isKind("invalid"),
      );
  });
});
