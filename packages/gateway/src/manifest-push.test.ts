import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { type Digest, digestOf, MediaType } from "@meridian/oci";
import { adminOf, manifestOf } from "./http-client.fixture.ts";
import { startTestCluster, type TestCluster } from "./test-cluster.fixture.ts";

let cluster: TestCluster;
let config: Digest;
let layer: Digest;
const admin = () => adminOf(cluster.site, "team/app");
const image = (extra: Record<string, unknown> = {}) => manifestOf(config, [{ digest: layer, size: 100 }], extra);
const unique = () => image({ annotations: { id: randomBytes(8).toString("hex") } });

before(async () => {
  cluster = await startTestCluster();
  config = await admin().pushBlob(Buffer.from("{}"));
  layer = await admin().pushBlob(randomBytes(100));
});
after(() => cluster[Symbol.asyncDispose]());

describe("pushing a manifest", () => {
  test("by tag names it and tells where it is", async () => {
    const manifest = unique();
    const pushed = await admin().putManifest("v1", manifest);
    assert.equal(pushed.status, 201);
    assert.equal(pushed.headers["docker-content-digest"], digestOf(manifest));
    assert.equal(pushed.headers.location, `/v2/team/app/manifests/${digestOf(manifest)}`);
    assert.equal(pushed.headers["meridian-version"], cluster.site.catalog.version());
    assert.deepEqual((await admin().get("/manifests/v1")).body, manifest);
  });

  test("again under the same tag is 201", async () => {
    const manifest = unique();
    await admin().putManifest("again", manifest);
    assert.equal((await admin().putManifest("again", manifest)).status, 201);
  });

  test("by digest with tags beside it", async () => {
    const manifest = unique();
    const pushed = await admin().putManifest(`${digestOf(manifest)}?tag=a&tag=b`, manifest);
    assert.equal(pushed.status, 201);
    assert.equal(pushed.headers["oci-tag"], "a, b");
    assert.deepEqual((await admin().get("/manifests/a")).body, manifest);
    assert.deepEqual((await admin().get("/manifests/b")).body, manifest);
  });

  test("by a sha512 digest", async () => {
    const manifest = unique();
    const digest = digestOf(manifest, "sha512");
    assert.equal((await admin().putManifest(digest, manifest)).status, 201);
    assert.deepEqual((await admin().get(`/manifests/${digest}`)).body, manifest);
  });

  test("with a subject that does not exist is taken and told", async () => {
    const subject = { mediaType: MediaType.ociManifest, digest: digestOf("absent"), size: 6 };
    const pushed = await admin().putManifest("signed", image({ subject }));
    assert.equal(pushed.status, 201);
    assert.equal(pushed.headers["oci-subject"], subject.digest);
  });

  test("an index needs its children, which may be blobs", async () => {
    const child = unique();
    await admin().putManifest(digestOf(child), child);
    const manifests = [
      { mediaType: MediaType.ociManifest, digest: digestOf(child), size: child.length },
      { mediaType: MediaType.ociLayer, digest: layer, size: 100 },
    ];
    const index = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MediaType.ociIndex, manifests }));
    assert.equal((await admin().putManifest("multi", index, {}, MediaType.ociIndex)).status, 201);
  });

  test("layers kept elsewhere are not required", async () => {
    const foreign = {
      mediaType: MediaType.ociForeignLayer,
      digest: digestOf("elsewhere"),
      size: 9,
      urls: ["https://x"],
    };
    const manifest = { ...JSON.parse(image().toString()), layers: [foreign] };
    assert.equal((await admin().putManifest("foreign", Buffer.from(JSON.stringify(manifest)))).status, 201);
  });

  const bad: ReadonlyArray<readonly [string, () => [string, Buffer], number, string]> = [
    ["not JSON", () => ["bad", Buffer.from("{")], 400, "MANIFEST_INVALID"],
    ["not a manifest", () => ["bad", Buffer.from("[]")], 400, "MANIFEST_INVALID"],
    ["another digest", () => [digestOf("other"), image()], 400, "DIGEST_INVALID"],
    ["a malformed digest", () => ["sha256:abc", image()], 400, "DIGEST_INVALID"],
    ["a malformed tag", () => ["-bad", image()], 400, "NAME_INVALID"],
    [
      "an unknown layer",
      () => ["bad", manifestOf(config, [{ digest: digestOf("no"), size: 2 }])],
      400,
      "MANIFEST_BLOB_UNKNOWN",
    ],
    ["too many bytes", () => ["bad", Buffer.alloc(4 * 1024 * 1024 + 1, " ")], 413, "SIZE_INVALID"],
  ];
  for (const [name, make, status, code] of bad) {
    test(`with ${name} is ${status} ${code}, and nothing is visible`, async () => {
      const [reference, manifest] = make();
      const answer = await admin().putManifest(reference, manifest);
      assert.deepEqual([answer.status, answer.code], [status, code]);
      assert.equal(cluster.site.catalog.tag("team/app", "bad"), undefined);
    });
  }

  test("whose media type and Content-Type disagree is MANIFEST_INVALID", async () => {
    const answer = await admin().putManifest("bad", image(), {}, MediaType.ociIndex);
    assert.equal(answer.code, "MANIFEST_INVALID");
  });

  test("a blob of another repository is unknown here", async () => {
    const other = adminOf(cluster.site, "team/elsewhere");
    assert.equal((await other.putManifest("v1", image())).code, "MANIFEST_BLOB_UNKNOWN");
  });
});

describe("a conditional push", () => {
  test("If-None-Match: * makes a tag once", async () => {
    const once = { "if-none-match": "*" };
    assert.equal((await admin().putManifest("once", unique(), once)).status, 201);
    const again = await admin().putManifest("once", unique(), once);
    assert.deepEqual([again.status, again.code], [412, "PRECONDITION_FAILED"]);
  });

  test("If-Match moves a tag from the digest that it names", async () => {
    const first = unique();
    const second = unique();
    await admin().putManifest("moved", first);
    const moved = await admin().putManifest("moved", second, { "if-match": `"${digestOf(first)}"` });
    assert.equal(moved.status, 201);
    const stale = await admin().putManifest("moved", unique(), { "if-match": `"${digestOf(first)}"` });
    assert.equal(stale.status, 412);
    assert.equal(stale.headers.etag, `"${digestOf(second)}"`);
  });

  test("of two at once one wins", async () => {
    const once = { "if-none-match": "*" };
    const pushes = [unique(), unique(), unique()].map((manifest) => admin().putManifest("race", manifest, once));
    const statuses = (await Promise.all(pushes)).map(({ status }) => status).sort();
    assert.deepEqual(statuses, [201, 412, 412]);
  });

  test("If-Match that is no digest is 400", async () => {
    assert.equal((await admin().putManifest("moved", unique(), { "if-match": '"x"' })).status, 400);
  });
});

describe("deleting", () => {
  test("a tag leaves the manifest", async () => {
    const manifest = unique();
    await admin().putManifest("gone", manifest);
    assert.equal((await admin().delete("/manifests/gone")).status, 202);
    assert.equal((await admin().get("/manifests/gone")).status, 404);
    assert.equal((await admin().get(`/manifests/${digestOf(manifest)}`)).status, 200);
  });

  test("a manifest takes its tags along", async () => {
    const manifest = unique();
    await admin().putManifest("one", manifest);
    await admin().putManifest("two", manifest);
    assert.equal((await admin().delete(`/manifests/${digestOf(manifest)}`)).status, 202);
    for (const reference of ["one", "two", digestOf(manifest)]) {
      assert.equal((await admin().get(`/manifests/${reference}`)).status, 404, reference);
    }
  });

  test("an index's child is 405 until the index is gone", async () => {
    const child = unique();
    await admin().putManifest(digestOf(child), child);
    const manifests = [{ mediaType: MediaType.ociManifest, digest: digestOf(child), size: child.length }];
    const index = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: MediaType.ociIndex, manifests }));
    await admin().putManifest("holding", index, {}, MediaType.ociIndex);
    const refused = await admin().delete(`/manifests/${digestOf(child)}`);
    assert.deepEqual([refused.status, refused.code], [405, "UNSUPPORTED"]);
    await admin().delete(`/manifests/${digestOf(index)}`);
    assert.equal((await admin().delete(`/manifests/${digestOf(child)}`)).status, 202);
  });

  test("a blob that a manifest references is 405", async () => {
    await admin().putManifest("v1", unique());
    assert.equal((await admin().delete(`/blobs/${layer}`)).status, 405);
  });

  test("a blob that nothing references is gone at once", async () => {
    const digest = await admin().pushBlob(randomBytes(50));
    assert.equal((await admin().delete(`/blobs/${digest}`)).status, 202);
    assert.equal((await admin().get(`/blobs/${digest}`)).status, 404);
    assert.equal((await admin().delete(`/blobs/${digest}`)).status, 404);
  });

  test("what does not exist is 404", async () => {
    assert.equal((await admin().delete("/manifests/never")).code, "MANIFEST_UNKNOWN");
    assert.equal((await admin().delete(`/manifests/${digestOf("never")}`)).code, "MANIFEST_UNKNOWN");
  });

  test("with If-Match keeps a tag that moved", async () => {
    await admin().putManifest("kept", unique());
    const answer = await admin().delete("/manifests/kept", { "if-match": `"${digestOf("old")}"` });
    assert.equal(answer.status, 412);
    assert.equal((await admin().get("/manifests/kept")).status, 200);
  });
});
