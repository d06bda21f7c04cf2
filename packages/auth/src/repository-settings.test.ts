import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { isContentError } from "@meridian/oci";
import { AuthCluster, eventually, SITES } from "./cluster.fixture.ts";

describe("what is set for repositories", () => {
  it("is effective at every site, is listed, and goes away again", async () => {
    await using cluster = await AuthCluster.ready();
    const token = await cluster.login("us");
    const { client } = cluster.site("us");
    await client.putRepositorySettings({ token, prefix: "apps", values: { tags: "home:ap" }, acceptLoss: true });
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

  it("move the home of tags in two steps: nobody decides until all who decided before have acknowledged", async () => {
    await using cluster = await AuthCluster.ready();
    const token = await cluster.login("us");
    const { client, policy } = cluster.site("us");
    const set = (tags: string, more = {}) =>
      client.putRepositorySettings({ token, prefix: "apps", values: { tags }, ...more });
    const inForce = () => policy.state.repositories.of("apps/web").tags?.value;
    const begun = await set("home:ap");
    assert.deepEqual([...begun.handoverFrom].toSorted(), [...SITES].toSorted(), "anywhere: every site decided");
    assert.equal(inForce()?.pending, true);
    const repeated = await set("home:ap");
    assert.deepEqual([repeated.revision, repeated.handoverFrom], [begun.revision, begun.handoverFrom]);
    const after = ["token of eu", "token of us"];
    const handover = { revision: begun.revision, after };
    await client.putRepositorySettings({ token, prefix: "apps", handover });
    assert.deepEqual([inForce()?.home, inForce()?.pending, inForce()?.after], ["ap", false, after]);
    const isConflict = (error: unknown): boolean => isContentError(error, "conflict");
    await assert.rejects(client.putRepositorySettings({ token, prefix: "apps", handover }), isConflict);

    const moved = await set("home:eu");
    assert.deepEqual(moved.handoverFrom, ["ap"], "only the former home");
    const back = await set("home:ap");
    assert.deepEqual([back.handoverFrom, inForce()?.pending], [[], false], "nobody else has decided meanwhile");
    const late = { revision: moved.revision, after: [] };
    await assert.rejects(client.putRepositorySettings({ token, prefix: "apps", handover: late }), isConflict);

    const lossy = await set("home:us", { acceptLoss: true });
    assert.deepEqual([lossy.handoverFrom, inForce()?.home, inForce()?.pending], [[], "us", false]);
    assert.deepEqual((await set("anywhere")).handoverFrom, [], "nothing is exact any more: nobody need be asked");
    await client.putRepositorySettings({ token, prefix: "", values: { tags: "home:eu" }, acceptLoss: true });
    await set("home:us", { acceptLoss: true });
    const isInvalid = (error: unknown): boolean =>
      isContentError(error, "invalid") && /set tags=home:eu first/.test(error.message);
    await assert.rejects(set(""), isInvalid, "what would be inherited is another home");
  });
});
