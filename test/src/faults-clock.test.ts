import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { DevProcess } from "./harness/dev-process.ts";
import { MANIFEST_TYPE, makeImage, type TestImage } from "./harness/oci-client.ts";
import { complete, meridian, SITES, type SiteName } from "./harness/site-control.ts";
import { until } from "./harness/until.ts";

const HOUR_MS = 3_600_000;
const REPOSITORY = "clock/app";

/** A site's clock is wrong: what it takes is held elsewhere until it is not in the future any more, and nothing comes back. */
describe("a site whose clock is wrong", () => {
  let cluster: DevProcess;

  before(async () => {
    cluster = await DevProcess.start();
  });
  after(() => cluster[Symbol.asyncDispose]());

  // The last one leaves records an hour ahead, which stay held for that long.
  for (const skewMs of [5_000, -5_000, -HOUR_MS, HOUR_MS]) {
    test(`by ${skewMs / 1_000} s: pulls go on, tags name what somebody put, and what was deleted stays so`, async (context) => {
      const [gone, seen, first, second] = [makeImage(500), makeImage(500), makeImage(500), makeImage(500)];
      const tags = { deleted: `deleted${skewMs}`, contested: `contested${skewMs}` };
      await cluster.at("eu").push(REPOSITORY, tags.deleted, gone);
      await cluster.at("eu").push(REPOSITORY, tags.contested, seen);
      for (const tag of Object.values(tags)) await complete(cluster, "eu", REPOSITORY, tag);

      await meridian(cluster, "clock", "skew", "us", skewMs > 0 ? `+${skewMs}` : `${skewMs}`);
      const taken = await put("us", tags.contested, first);
      context.diagnostic(`a push at us is answered ${taken}`);
      assert.ok([201, 503].includes(taken), `a push at us was answered ${taken}`);
      assert.equal(await put("eu", tags.contested, second), 201);
      const path = `/v2/${REPOSITORY}/manifests/${tags.deleted}`;
      assert.equal((await cluster.at("eu").call(path, { method: "DELETE" })).status, 202);
      for (const site of SITES)
        assert.equal((await cluster.at(site).pull(REPOSITORY, tags.contested)).digest.length, 71);
      // A client that pushes again at a site which has not heard of the delete must not bring it back elsewhere.
      await until("ap knows of the delete", async () => (await statusOf("ap", tags.deleted)) === 404);

      await meridian(cluster, "clock", "skew", "us", "0");
      const possible = [first, second].map(({ digest }) => digest);
      const sites = skewMs === HOUR_MS ? (["eu", "ap"] as const) : SITES;
      await until("all agree on the tag", async () => {
        const shown = await Promise.all(sites.map((site) => digestAt(site, tags.contested)));
        assert.ok(
          shown.every((digest) => digest === shown[0] && possible.includes(digest)),
          shown.join(", "),
        );
        return true;
      });
      // Whoever is an hour ahead, or held an hour's records back, is no reason for others to follow it.
      if (skewMs === HOUR_MS) assert.equal(await digestAt("eu", tags.contested), second.digest);
      if (taken === 503) assert.equal(await digestAt("ap", tags.contested), second.digest);
      await until("deleted everywhere", async () => {
        for (const site of SITES) assert.equal(await statusOf(site, tags.deleted), 404, site);
        return true;
      });
    });
  }

  test("what was deleted beside a wrong clock is still gone after a restart of that site", async () => {
    await meridian(cluster, "site", "kill", "us");
    await meridian(cluster, "site", "start", "us");
    await until("us is ready", async () => (await cluster.at("us").call("/readyz")).status === 200, 60_000);
    for (const site of SITES) {
      const { body } = await cluster.at(site).call(`/v2/${REPOSITORY}/tags/list`);
      const { tags } = JSON.parse(body.toString()) as { tags: string[] };
      assert.deepEqual(
        tags.filter((tag) => tag.startsWith("deleted")),
        [],
        site,
      );
    }
  });

  async function put(site: SiteName, tag: string, image: TestImage): Promise<number> {
    for (const blob of [image.config, ...image.layers]) {
      const pushed = await cluster
        .at(site)
        .pushBlob(REPOSITORY, blob)
        .then(
          () => 201,
          (error: unknown) => Number(/: (\d{3}) /.exec(String(error))?.[1]),
        );
      if (pushed !== 201) return pushed;
    }
    const headers = { "content-type": MANIFEST_TYPE };
    const path = `/v2/${REPOSITORY}/manifests/${tag}`;
    return (await cluster.at(site).call(path, { method: "PUT", headers, body: image.manifest })).status;
  }

  async function statusOf(site: SiteName, tag: string): Promise<number> {
    return (await cluster.at(site).call(`/v2/${REPOSITORY}/manifests/${tag}`)).status;
  }

  async function digestAt(site: SiteName, tag: string): Promise<string> {
    return (await cluster.at(site).call(`/v2/${REPOSITORY}/manifests/${tag}`)).digest;
  }
});
