import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { digestOf } from "@meridian/oci";
import { policyV1, siteV1 } from "@meridian/wire";
import { adminOf, manifestOf } from "./http-client.fixture.ts";
import { startTestCluster, type TestCluster, type TestSite } from "./test-cluster.fixture.ts";

let cluster: TestCluster;
let eu: TestSite;
let us: TestSite;

before(async () => {
  cluster = await startTestCluster({ sites: ["eu", "us"], config: { transientWaitMs: 400 } });
  [eu, us] = cluster.sites as [TestSite, TestSite];
});
after(() => cluster[Symbol.asyncDispose]());

/** Sets who decides about a repository's tags, as the named sites know it. */
function setTags(prefix: string, tags: Partial<policyV1.TagWrites>, sites = cluster.sites): void {
  for (const site of sites) {
    const value = create(policyV1.TagWritesSchema, tags as policyV1.TagWrites);
    site.settings.put(create(policyV1.RepositorySettingsSchema, { prefix, tags: value }));
  }
}

const tagged = (site: TestSite, name: string, tag = "v1") => site.catalog.tag(name, tag)?.digest;

describe("a repository whose tags have a home", () => {
  test("has every write of a tag decided there: push, delete, restore, deletion of the repository", async () => {
    setTags("home/all", { home: "eu" });
    const here = adminOf(us, "home/all");
    const { pushed, digest, manifest } = await here.pushImage("v1");
    assert.equal(pushed.status, 201, pushed.body.toString());
    assert.equal(pushed.headers["meridian-site"], "eu");
    assert.equal(tagged(eu, "home/all"), digest);
    assert.equal(tagged(us, "home/all"), undefined, "us wrote nothing: its own log has no such tag");
    assert.equal((await here.delete("/manifests/v1")).status, 202);
    assert.equal(tagged(eu, "home/all"), undefined);
    const restored = await here.call("POST", "/_meridian/tags/v1/restore", { body: "{}" });
    assert.equal(restored.status, 200, restored.body.toString());
    assert.equal(tagged(eu, "home/all"), digest);
    const byDigest = await here.putManifest(digest, manifest);
    assert.equal(byDigest.headers["meridian-site"], "us", "what writes no tag needs no home");
    const deleted = await here.delete("/_meridian/repository");
    assert.equal(deleted.status, 200, deleted.body.toString());
    assert.equal(tagged(eu, "home/all"), undefined);
  });

  test("has conditions decided by what its home knows, whatever this site shows", async () => {
    const here = adminOf(us, "home/exact");
    const config = await here.pushBlob(Buffer.from("{}"));
    const manifest = manifestOf(config, []);
    const digest = digestOf(manifest);
    setTags("home/exact", { home: "eu" });
    const created = await here.putManifest("v1", manifest, { "if-none-match": "*" });
    assert.equal(created.status, 201, created.body.toString());
    const again = await here.putManifest("v1", manifest, { "if-none-match": "*" });
    assert.equal(again.status, 412, "now it does");
    assert.equal(again.headers.etag, `"${digest}"`);
    const other = `sha256:${"0".repeat(64)}`;
    assert.equal((await here.putManifest("v1", manifest, { "if-match": `"${other}"` })).status, 412);
    assert.equal((await here.putManifest("v1", manifest, { "if-match": `"${digest}"` })).status, 201);
    assert.equal((await here.delete("/manifests/v1", { "if-match": `"${other}"` })).status, 412);
  });

  test("takes no write while its home cannot be reached: 503 with Retry-After, once that was waited out", async () => {
    setTags("home/away", { home: "eu" });
    const here = adminOf(us, "home/away");
    const { manifest } = await here.pushImage("v1");
    us.health.set("eu", "down");
    try {
      const began = performance.now();
      const refused = await here.putManifest("v2", manifest);
      assert.equal(refused.status, 503);
      assert.ok(performance.now() - began >= 350, "a passing state is waited out first");
      assert.ok(Number(refused.headers["retry-after"]) > 0);
      assert.match(refused.body.toString(), /home of the tags of home\/away, site eu, cannot be reached/);
      assert.equal((await here.delete("/manifests/v1")).status, 503);
      assert.equal(
        (await here.putManifest((await here.pushImage("v3")).digest, manifest)).status,
        400,
        "no tag, no home",
      );
      setTimeout(() => us.health.delete("eu"), 100);
      assert.equal((await here.putManifest("v2", manifest)).status, 201, "it is back within that time");
    } finally {
      us.health.clear();
    }
  });

  test("answers 201 without its home to a push of what the tag names already", async () => {
    const here = adminOf(us, "home/same");
    const { manifest, digest } = await here.pushImage("v1");
    setTags("home/same", { home: "eu" });
    us.health.set("eu", "down");
    try {
      const answer = await here.putManifest("v1", manifest);
      assert.equal(answer.status, 201);
      assert.equal(answer.headers["docker-content-digest"], digest);
      assert.equal((await here.putManifest("v2", manifest)).status, 503);
      assert.equal((await here.putManifest("v1", manifest, { "if-match": `"${digest}"` })).status, 503);
    } finally {
      us.health.clear();
    }
  });

  test("is decided by nobody while it moves, nor sent in circles by sites that disagree", async () => {
    const here = adminOf(us, "home/moves");
    const { manifest } = await here.pushImage("v1");
    setTags("home/moves", { home: "us", pending: true, from: ["eu"] });
    for (const site of [eu, us]) {
      const answer = await adminOf(site, "home/moves").putManifest("v2", manifest);
      assert.equal(answer.status, 503);
      assert.match(answer.body.toString(), /moves to us: nothing was changed/);
    }
    setTags("home/moves", { home: "eu" }, [us]);
    setTags("home/moves", { home: "us" }, [eu]);
    const refused = await here.putManifest("v2", manifest);
    assert.equal(refused.status, 503);
    assert.ok(Number(refused.headers["retry-after"]) > 0);
  });

  test("begins at its new home only once that knows what the former one decided", async () => {
    setTags("home/after", { home: "eu" });
    const { manifest } = await adminOf(eu, "home/after").pushImage("v1");
    const version = eu.catalog.version();
    setTags("home/after", { home: "us", after: [version] });
    const refused = await adminOf(us, "home/after").putManifest("v1", manifest);
    assert.notEqual(refused.status, 201, "us has not folded eu's log");
    const own = us.catalog.version();
    setTags("home/after", { home: "us", after: [own] });
    await adminOf(us, "home/after").pushBlob(Buffer.from("{}"));
    assert.equal((await adminOf(us, "home/after").pushImage("v1")).pushed.status, 201);
  });
});

describe("a gateway that is asked to hand over", () => {
  test("answers when it knows the policy and what it had begun is done, with its own log's version", async () => {
    const homes = cluster.client(siteV1.TagHomeService, "eu");
    await adminOf(eu, "home/over").pushImage("v1");
    const { version } = await homes.handOver({ revision: "1.7" });
    await us.catalog.reached(us.catalog.version(), AbortSignal.timeout(1_000));
    assert.deepEqual(
      JSON.parse(Buffer.from(version, "base64url").toString())
        .slice(1)
        .map(([site]: string[]) => site),
      ["eu"],
    );
    await eu.catalog.reached(version, AbortSignal.timeout(1_000));
    await assert.rejects(homes.handOver({ revision: "1.8" }, { timeoutMs: 300 }), "it does not know that policy yet");
  });
});
