import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { digestOf } from "@meridian/oci";
import { adminOf, manifestOf } from "./http-client.fixture.ts";
import { startTestCluster, type TestCluster } from "./test-cluster.fixture.ts";

let cluster: TestCluster;
const repository = "team/pinned";
const admin = () => adminOf(cluster.site, repository);
/** What the collection, or anybody else, does to a link that nothing needs. */
const unlink = (digest: ReturnType<typeof digestOf>) =>
  cluster.site.catalog.commit([{ kind: "delete-link", repository, digest }]);

before(async () => {
  cluster = await startTestCluster();
});
after(() => cluster[Symbol.asyncDispose]());

describe("a client that was told that a blob is here can push its manifest", () => {
  test("told by HEAD", async () => {
    const layer = randomBytes(500);
    const digest = digestOf(layer);
    const { catalog } = cluster.site;
    const [config] = [await admin().pushBlob(Buffer.from("{}")), await admin().pushBlob(layer)];
    catalog.pins.unpin(repository, digest);
    assert.equal((await admin().head(`/blobs/${digest}`)).status, 200);
    await unlink(digest);
    assert.equal((await admin().get(`/blobs/${digest}`)).status, 200);
    const pushed = await admin().putManifest("told", manifestOf(config, [{ digest, size: 500 }]));
    assert.equal(pushed.status, 201);
  });

  test("told by a HEAD of a manifest, which an index is to name", async () => {
    const { digest, manifest } = await admin().pushImage("child");
    assert.equal((await admin().head(`/manifests/${digest}`)).status, 200);
    await cluster.site.catalog.commit([{ kind: "delete-manifest", repository, digest, who: "elsewhere" }]);
    assert.equal((await admin().get(`/manifests/${digest}`)).status, 404);
    const mediaType = "application/vnd.oci.image.index.v1+json";
    const child = { mediaType: "application/vnd.oci.image.manifest.v1+json", digest, size: manifest.length };
    const index = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, manifests: [child] }));
    assert.equal((await admin().putManifest("index", index, {}, mediaType)).status, 201);
    assert.deepEqual((await admin().get(`/manifests/${digest}`)).body, manifest);
  });

  test("told by an upload, or by a mount", async () => {
    const layer = randomBytes(500);
    const digest = await admin().pushBlob(layer);
    await unlink(digest);
    assert.equal((await admin().get(`/blobs/${digest}`)).status, 200);
    const other = adminOf(cluster.site, "team/mounted");
    const auth = { authorization: `Bearer ${encodeURIComponent("admin team/mounted:pull,push team/pinned:pull")}` };
    const mounted = await other.call("POST", `/blobs/uploads/?mount=${digest}&from=${repository}`, { headers: auth });
    assert.equal(mounted.status, 201);
    await cluster.site.catalog.commit([{ kind: "delete-link", repository: "team/mounted", digest }]);
    assert.equal((await other.get(`/blobs/${digest}`)).status, 200);
  });

  test("while its link is being written again", async () => {
    const layer = randomBytes(500);
    const [config, digest] = [await admin().pushBlob(Buffer.from("{}")), await admin().pushBlob(layer)];
    const unlinking = unlink(digest);
    const pushed = await admin().putManifest("meanwhile", manifestOf(config, [{ digest, size: 500 }]));
    await unlinking;
    assert.equal(pushed.status, 201);
  });
});

test("what a client deletes is gone although it was pinned", async () => {
  const digest = await admin().pushBlob(randomBytes(500));
  assert.equal((await admin().head(`/blobs/${digest}`)).status, 200);
  assert.equal((await admin().delete(`/blobs/${digest}`)).status, 202);
  assert.equal((await admin().get(`/blobs/${digest}`)).status, 404);
  const image = await admin().pushImage("gone");
  assert.equal((await admin().head(`/manifests/${image.digest}`)).status, 200);
  assert.equal((await admin().delete(`/manifests/${image.digest}`)).status, 202);
  assert.equal((await admin().get(`/manifests/${image.digest}`)).status, 404);
  assert.equal((await admin().get(`/blobs/${image.digest}`)).status, 404);
});

test("an upload that turns out to be something else leaves no claim to the digest that it was called", async () => {
  const claimed = digestOf(randomBytes(500));
  const refused = await admin().call("POST", `/blobs/uploads/?digest=${claimed}`, { body: randomBytes(500) });
  assert.equal(refused.code, "DIGEST_INVALID");
  const { pins } = cluster.site.catalog;
  assert.equal(pins.isPinned(claimed, repository), false);
  assert.equal(pins.isPinned(claimed), true, "the bytes, had there been any, were kept");
});
