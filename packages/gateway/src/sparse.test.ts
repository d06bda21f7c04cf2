import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { type Digest, digestOf, MediaType } from "@meridian/oci";
import { adminOf, manifestOf } from "./http-client.fixture.ts";
import { startTestCluster, type TestCluster } from "./test-cluster.fixture.ts";

let cluster: TestCluster;
let config: Digest;
const admin = () => adminOf(cluster.site, "team/app");
const indexOf = (...children: ReadonlyArray<{ digest: Digest; size: number }>): Buffer =>
  Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: MediaType.ociIndex,
      manifests: children.map((child) => ({ mediaType: MediaType.ociManifest, ...child })),
    }),
  );

before(async () => {
  cluster = await startTestCluster({ config: { sparse: true } });
  config = await admin().pushBlob(Buffer.from("{}"));
});
after(() => cluster[Symbol.asyncDispose]());

describe("a sparse registry", () => {
  test("takes an index without some of its children; those are unknown", async () => {
    const here = manifestOf(config, []);
    await admin().putManifest(digestOf(here), here);
    const absent = { digest: digestOf(randomBytes(8)), size: 8 };
    const index = indexOf({ digest: digestOf(here), size: here.length }, absent);
    assert.equal((await admin().putManifest("multi", index, {}, MediaType.ociIndex)).status, 201);
    assert.deepEqual((await admin().get("/manifests/multi")).body, index);
    assert.equal((await admin().get(`/manifests/${digestOf(here)}`)).status, 200);
    const missing = await admin().get(`/manifests/${absent.digest}`);
    assert.deepEqual([missing.status, missing.code], [404, "MANIFEST_UNKNOWN"]);
    assert.equal((await admin().get(`/blobs/${absent.digest}`)).code, "BLOB_UNKNOWN");
    assert.equal((await admin().head(`/blobs/${absent.digest}`)).status, 404);
  });

  test("names what is absent in receipts, a subject too", async () => {
    const subject = { mediaType: MediaType.ociManifest, digest: digestOf("no such subject"), size: 15 };
    const layer = digestOf(randomBytes(8));
    const manifest = manifestOf(config, [{ digest: layer, size: 8 }], { subject });
    await admin().putManifest("named", manifest);
    const receipt = (await admin().get("/_meridian/replication/named")).json<{ absent: string[] }>();
    assert.deepEqual(receipt.absent, [subject.digest, layer]);
    const whole = await admin().pushImage("whole");
    assert.equal(whole.pushed.status, 201);
    assert.equal("absent" in (await admin().get("/_meridian/replication/whole")).json(), false);
  });

  test("does not serve another repository's content to who only names it", async () => {
    const secret = randomBytes(100);
    const hidden = await adminOf(cluster.site, "team/hidden").pushBlob(secret);
    const image = await adminOf(cluster.site, "team/hidden").pushImage("v1");
    const manifest = manifestOf(config, [{ digest: hidden, size: 100 }]);
    assert.equal((await admin().putManifest("thief", manifest)).status, 201);
    assert.equal((await admin().get(`/blobs/${hidden}`)).status, 404);
    assert.equal((await admin().head(`/blobs/${hidden}`)).status, 404);
    const index = indexOf({ digest: image.digest, size: image.manifest.length });
    assert.equal((await admin().putManifest("thieves", index, {}, MediaType.ociIndex)).status, 201);
    assert.equal((await admin().get(`/manifests/${image.digest}`)).status, 404);
    assert.equal((await admin().get(`/blobs/${image.layer}`)).status, 404);
    assert.equal((await admin().pushBlob(secret)) === hidden, true);
    assert.deepEqual((await admin().get(`/blobs/${hidden}`)).body, secret);
  });

  test("nor through a manifest that is too large for its record", async () => {
    const hidden = await adminOf(cluster.site, "team/hidden").pushBlob(randomBytes(100));
    const many = Array.from({ length: 1_500 }, () => ({ digest: digestOf(randomBytes(8)), size: 8 }));
    const manifest = manifestOf(config, [{ digest: hidden, size: 100 }, ...many]);
    assert.equal((await admin().putManifest("large", manifest)).status, 201);
    assert.deepEqual((await admin().get("/manifests/large")).body, manifest);
    assert.equal((await admin().get(`/blobs/${hidden}`)).status, 404);
  });
});
