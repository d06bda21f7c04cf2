import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { type Change, manifestValueOf, toWireDigest } from "@meridian/catalog";
import { parseManifest } from "@meridian/oci";
import { recordV1 } from "@meridian/wire";
import { TestCluster, type TestSite, until } from "./test-cluster.fixture.ts";
import { blobsOf, hasAll, heldAt, imageAt, MANIFEST, namesOf, push } from "./test-image.fixture.ts";

const nothingWanted = ({ replicator }: TestSite): boolean => {
  const { ready, fetching, landed, homeless, resting } = replicator.status().wanted;
  return ready + fetching + landed + homeless + resting === 0;
};

describe("replicator", () => {
  test("a push at one site is fetched by the others, who then say that they hold it", async () => {
    await using cluster = await TestCluster.start(["eu", "us", "ap"]);
    const [eu, us, ap] = ["eu", "us", "ap"].map((name) => cluster.site(name)) as [TestSite, TestSite, TestSite];
    const image = imageAt(eu, "one", [10, 2_000, 300]);
    await push(eu, "app", image);
    await until(() => hasAll(us, image) && hasAll(ap, image), "all blobs are at us and ap");
    const everywhere = (site: TestSite): boolean =>
      blobsOf(image).every(
        ({ digest }) => site.catalog.holders(digest).toSorted().join() === "ap/site,eu/site,us/site",
      );
    await until(() => everywhere(eu) && everywhere(us) && everywhere(ap), "every site knows every holder");
    await until(() => nothingWanted(us) && nothingWanted(eu), "nothing is wanted any more");
    assert.deepEqual(eu.fetches, [], "what was pushed here is not fetched");
    assert.equal(us.fetches.length, blobsOf(image).length, "each blob is fetched once");
    const own = Number((await eu.catalog.foldedPosition("eu"))?.sequence);
    await until(() => {
      const { reports } = eu.replicator.status();
      return [reports.get("us"), reports.get("ap")].every(
        (report) => (report?.copied?.sequence ?? 0) >= own && (report?.folded?.sequence ?? 0) >= own,
      );
    }, "both peers report that they copied and folded the push");
  });

  test("a site cut off from the pusher gets records and blobs through the third; after the heal directly", async () => {
    await using cluster = await TestCluster.start(["eu", "us", "ap"]);
    const [eu, us] = [cluster.site("eu"), cluster.site("us")];
    const first = imageAt(eu, "first", [10]);
    await push(eu, "app", first);
    await until(() => hasAll(us, first), "connected");
    cluster.cut("eu", "us");
    const second = imageAt(eu, "second", [20, 30]);
    await push(eu, "app", second);
    await until(() => hasAll(us, second), "us has the second image, through ap");
    assert.equal(us.replicator.status().copies.find(({ origin }) => origin === "eu")?.via, "ap");
    cluster.heal("eu", "us");
    await until(() => us.replicator.status().copies.every(({ origin, via }) => via === origin), "direct again");
  });

  test("two sites cut apart both go on, and after the heal each has what the other took", async () => {
    await using cluster = await TestCluster.start(["eu", "us"]);
    const [eu, us] = [cluster.site("eu"), cluster.site("us")];
    cluster.cut("eu", "us");
    const [here, there] = [imageAt(eu, "here", [10]), imageAt(us, "there", [10])];
    await push(eu, "app-eu", here);
    await push(us, "app-us", there);
    assert.equal(us.catalog.tag("app-eu", "latest"), undefined);
    cluster.heal("eu", "us");
    await until(() => hasAll(us, here) && hasAll(eu, there), "both have both");
    assert.equal(us.catalog.tag("app-eu", "latest")?.digest, here.manifest.digest);
  });

  test("blobs without a holder wait; when holders appear manifests, configs and small layers go first", async () => {
    await using cluster = await TestCluster.start(["eu", "us"], { fetchesPerSite: 1 });
    const [eu, us] = [cluster.site("eu"), cluster.site("us")];
    const image = imageAt(eu, "one", [3_000, 10, 500]);
    await eu.catalog.commit(namesOf(image, "app"));
    await until(() => us.replicator.status().wanted.homeless === 5, "all five wait for a holder");
    assert.deepEqual(us.fetches, []);
    const { promise, resolve } = Promise.withResolvers<void>();
    us.gate = promise;
    await eu.catalog.commit(heldAt(image, eu.node));
    await until(() => us.replicator.status().wanted.ready === 4, "one is being fetched, four queue");
    resolve();
    await until(() => hasAll(us, image), "all are fetched");
    const [large, small, middle] = image.layers.map(({ digest }) => digest);
    const expected = [image.manifest.digest, image.config.digest, small, middle, large].filter(
      (digest) => digest !== us.fetches[0],
    );
    assert.deepEqual(us.fetches.slice(1), expected);
  });

  test("a manifest whose record does not hold its references is read once its bytes are here", async () => {
    await using cluster = await TestCluster.start(["eu", "us"]);
    const [eu, us] = [cluster.site("eu"), cluster.site("us")];
    const image = imageAt(eu, "one", [10, 20]);
    const size = BigInt(image.manifest.size);
    const value = create(recordV1.ManifestValueSchema, { mediaType: MANIFEST, size, seeBytes: true });
    await eu.catalog.commit([
      ...heldAt(image, eu.node),
      { kind: "manifest", repository: "app", digest: image.manifest.digest, value },
      { kind: "tag", repository: "app", tag: "latest", ...image.manifest, mediaType: MANIFEST, who: "test" },
    ]);
    await until(() => hasAll(us, image), "layers that only the bytes name are fetched");
  });

  test("a signature attached to an image is fetched with it", async () => {
    await using cluster = await TestCluster.start(["eu", "us"]);
    const [eu, us] = [cluster.site("eu"), cluster.site("us")];
    const image = imageAt(eu, "one", [10]);
    await push(eu, "app", image);
    const signature = imageAt(eu, "signature", [5]);
    const value = manifestValueOf(parseManifest(signature.bytes, MANIFEST), signature.bytes.byteLength);
    value.subject = create(recordV1.ReferenceSchema, { digest: toWireDigest(image.manifest.digest) });
    const { digest } = signature.manifest;
    await eu.catalog.commit([...heldAt(signature, eu.node), { kind: "manifest", repository: "app", digest, value }]);
    await until(() => hasAll(us, signature), "the signature is at us");
  });

  test("what stopped being visible is not fetched when a holder appears", async () => {
    await using cluster = await TestCluster.start(["eu", "us"]);
    const [eu, us] = [cluster.site("eu"), cluster.site("us")];
    const image = imageAt(eu, "one", [10]);
    await eu.catalog.commit(namesOf(image, "app"));
    await until(() => us.replicator.status().wanted.homeless === 3, "all wait for a holder");
    const { digest } = image.manifest;
    await eu.catalog.commit([{ kind: "delete-tag", repository: "app", tag: "latest", who: "test" }]);
    await eu.catalog.commit([{ kind: "delete-manifest", repository: "app", digest, who: "test" }]);
    await eu.catalog.commit(
      blobsOf(image).map((blob): Change => ({ kind: "delete-link", repository: "app", digest: blob.digest })),
    );
    await eu.catalog.commit(heldAt(image, eu.node));
    await until(() => nothingWanted(us), "nothing is wanted");
    assert.deepEqual(us.fetches, []);
  });

  test("a blob node that fails is asked again with growing rests, not in a hot loop", async () => {
    await using cluster = await TestCluster.start(["eu", "us"], { retryFirstMs: 500, retryMaxMs: 4_000 });
    const [eu, us] = [cluster.site("eu"), cluster.site("us")];
    us.broken = true;
    const image = imageAt(eu, "one", [10]);
    await push(eu, "app", image);
    await until(() => us.fetches.filter((digest) => digest === image.manifest.digest).length === 4, "four attempts");
    assert.ok(us.fetches.length <= 3 * 6, `${us.fetches.length} fetches of three blobs`);
    us.broken = false;
    await until(() => hasAll(us, image), "fetched in the end");
  });

  test("a replicator that starts again finds what is still missing", async () => {
    await using cluster = await TestCluster.start(["eu", "us"]);
    const [eu, us] = [cluster.site("eu"), cluster.site("us")];
    us.broken = true;
    const image = imageAt(eu, "one", [10, 20]);
    await push(eu, "app", image);
    await until(() => us.replicator.status().wanted.resting === 4, "all four failed");
    await us.stopReplicating();
    us.broken = false;
    await us.replicate();
    await until(() => hasAll(us, image), "found by looking through what is visible");
    assert.equal(us.replicator.checks[0]?.name, "replicator");
    await us.replicator.checks[0]!.check(AbortSignal.timeout(1_000));
  });
});
