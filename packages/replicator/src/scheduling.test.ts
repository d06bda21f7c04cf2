import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { TestCluster, type TestSite, until } from "./test-cluster.fixture.ts";
import { blobsOf, commit, hasAll, heldAt, imageAt, namesOf, push } from "./test-image.fixture.ts";

/** A window, UTC, that is closed now and for the next hours. */
function closedWindow(): string {
  const hour = (later: number): string => String((new Date().getUTCHours() + later) % 24).padStart(2, "0");
  return `${hour(6)}:00-${hour(8)}:00`;
}

async function twoSites(config = {}): Promise<{ cluster: TestCluster; eu: TestSite; us: TestSite }> {
  const cluster = await TestCluster.start(["eu", "us"], config);
  return { cluster, eu: cluster.site("eu"), us: cluster.site("us") };
}

describe("what the replicator fetches when", () => {
  test("an image that somebody pulls goes before a backlog, its signature with it", async () => {
    const { cluster, eu, us } = await twoSites({ fetchesPerSite: 1 });
    await using _cluster = cluster;
    const hold = Promise.withResolvers<void>();
    us.gate = hold.promise;
    for (let i = 0; i < 10; i++) await push(eu, "other", imageAt(eu, `other ${i}`, [10]));
    const pulled = imageAt(eu, "pulled", [5_000, 6_000]);
    await push(eu, "app", pulled);
    await until(() => us.catalog.tag("app", "latest") !== undefined && us.fetches.length === 1, "us knows all of it");
    await until(() => us.replicator.status().wanted.ready >= 32, "all is wanted");
    us.replicator.prefer("app", pulled.manifest.digest);
    hold.resolve();
    us.gate = Promise.resolve();
    await until(() => hasAll(us, pulled), "the image is here");
    const last = Math.max(...blobsOf(pulled).map(({ digest }) => us.fetches.indexOf(digest)));
    assert.ok(last <= 6, `its last blob came as number ${last}`);
  });

  test("what is deleted while it is fetched is not fetched to its end", async () => {
    const { cluster, eu, us } = await twoSites();
    await using _cluster = cluster;
    const hold = Promise.withResolvers<void>();
    us.gate = hold.promise;
    const image = imageAt(eu, "gone", [5_000]);
    await push(eu, "app", image);
    await until(() => us.fetches.length >= 2, "us fetches");
    const digests = blobsOf(image).map(({ digest }) => digest);
    await commit(eu, [
      { kind: "delete-tag", repository: "app", tag: "latest", who: "test" },
      { kind: "delete-manifest", repository: "app", digest: image.manifest.digest, who: "test" },
    ]);
    const dropped = (): boolean => us.fetches.every((digest) => us.dropped.includes(digest));
    await until(dropped, "the fetches under way are dropped");
    assert.ok(us.dropped.every((digest) => digests.includes(digest)));
    hold.resolve();
    await until(() => us.replicator.status().wanted.ready === 0, "nothing waits");
  });

  test("a layer waits for the window of its link; the manifest, and what somebody pulls, does not", async () => {
    const { cluster, eu, us } = await twoSites({ links: { eu: { windows: [closedWindow()] } } });
    await using _cluster = cluster;
    const image = imageAt(eu, "held", [5_000]);
    await push(eu, "app", image);
    await until(() => us.blobs.has(image.manifest.digest), "the manifest is here");
    await until(() => us.replicator.status().wanted.resting === 2, "config and layer wait");
    assert.deepEqual(us.fetches, [image.manifest.digest]);
    assert.equal(us.replicator.progress()[0]?.open, false);
    us.replicator.prefer("app", image.manifest.digest);
    await until(() => hasAll(us, image), "what is pulled came");
  });

  test("a blob of which every holder has wrong bytes is parked and reported, and tried again when somebody else has it", async () => {
    await using cluster = await TestCluster.start(["eu", "us", "ap"]);
    const [eu, us, ap] = ["eu", "us", "ap"].map((name) => cluster.site(name)) as [TestSite, TestSite, TestSite];
    const image = imageAt(eu, "bad", [300]);
    const layer = image.layers[0]!;
    us.wrong.add(layer.digest);
    ap.wrong.add(layer.digest);
    await push(eu, "app", image);
    await until(() => us.replicator.status().wanted.poisoned === 1, "it is parked");
    const { length } = us.fetches;
    await until(() => ap.replicator.status().wanted.poisoned === 1, "at ap, too");
    assert.equal(us.fetches.length, length, "it is not asked for again and again");
    us.wrong.clear();
    ap.blobs.set(layer.digest, eu.blobs.get(layer.digest)!);
    await commit(ap, heldAt({ ...image, layers: [layer] }, ap.node));
    await until(() => us.blobs.has(layer.digest), "it came from ap");
    await until(() => us.replicator.status().wanted.poisoned === 0, "nothing is parked any more");
  });

  test("a site that is busy does not hold up what comes from another", async () => {
    await using cluster = await TestCluster.start(["eu", "us", "ap"], { fetchesPerSite: 1 });
    const [eu, us, ap] = ["eu", "us", "ap"].map((name) => cluster.site(name)) as [TestSite, TestSite, TestSite];
    cluster.cut("eu", "ap");
    const hold = Promise.withResolvers<void>();
    us.gate = hold.promise;
    for (let batch = 0; batch < 6; batch++) {
      const images = Array.from({ length: 5 }, (_, i) => imageAt(eu, `eu ${batch} ${i}`, [10]));
      await commit(
        eu,
        images.flatMap((image, i) => [...heldAt(image, eu.node), ...namesOf(image, `eu/${batch}/${i}`)]),
      );
    }
    await until(() => us.replicator.status().wanted.ready > 85, "us has a backlog of eu's");
    const image = imageAt(ap, "ap", [9_000]);
    await push(ap, "ap", image);
    await until(
      () => us.fetches.some((digest) => blobsOf(image).some((blob) => blob.digest === digest)),
      "ap is asked",
    );
    hold.resolve();
  });

  test("an image that becomes whole is told, once, with the blobs of what refers to it", async () => {
    const { cluster, eu, us } = await twoSites();
    await using _cluster = cluster;
    const told: string[] = [];
    const stop = new AbortController();
    const listening = (async () => {
      for await (const payload of us.logs.bulletin.subscribe("event.image.complete", { signal: stop.signal }))
        told.push(Buffer.from(payload).toString());
    })();
    const image = imageAt(eu, "told", [100, 200]);
    await push(eu, "app", image);
    await until(() => told.length > 0, "it is told");
    assert.ok(hasAll(us, image), "it was told too early");
    const [{ site, repository, digest }] = told.map((text) => JSON.parse(text)) as [Record<string, string>];
    assert.deepEqual([site, repository, digest], ["us", "app", image.manifest.digest]);
    await until(() => us.replicator.status().wanted.fetching === 0, "nothing more comes");
    assert.equal(told.length, 1);
    stop.abort();
    await listening;
  });

  test("progress tells bytes, rate and age for each link, of one repository or of all", async () => {
    const { cluster, eu, us } = await twoSites();
    await using _cluster = cluster;
    const hold = Promise.withResolvers<void>();
    us.gate = hold.promise;
    const [one, two] = [imageAt(eu, "one", [7_000]), imageAt(eu, "two", [9_000])];
    await push(eu, "one", one);
    await push(eu, "two", two);
    const bytes = blobsOf(two).reduce((sum, { size }) => sum + size, 0);
    await until(() => us.replicator.progress("two")[0]?.bytes === bytes, "what is missing of two");
    const [all] = us.replicator.progress();
    assert.deepEqual([all?.from, all?.blobs, all?.open], ["eu", 6, true]);
    await until(() => (us.replicator.progress("two")[0]?.oldestMs ?? 0) > 100, "it grows old");
    hold.resolve();
    await until(() => us.replicator.progress()[0]?.blobs === 0, "nothing is missing any more");
    await until(() => (us.replicator.progress()[0]?.bytesPerSecond ?? 0) > 0, "the rate is known");
  });
});
