import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { DevProcess } from "./harness/dev-process.ts";
import { makeImage, type OciClient, type TestImage } from "./harness/oci-client.ts";
import { until } from "./harness/until.ts";

describe("three sites in one process each, embedded log", () => {
  let cluster: DevProcess;
  const at = (site: string): OciClient => cluster.at(site);
  let image: TestImage;

  before(async () => {
    cluster = await DevProcess.start();
    image = makeImage(3_000_000, 200_000, 1_000);
  });
  after(() => cluster[Symbol.asyncDispose]());

  test("what is pushed at eu is pulled at us and ap, by tag and by digest, at once", async () => {
    await at("eu").push("demo/app", "v1", image);
    for (const site of ["us", "ap"]) {
      // By digest a site asks the others, so it needs no record of its own yet.
      const byDigest = await at(site).pull("demo/app", image.digest);
      assert.equal(byDigest.digest, image.digest);
      const byTag = await until(`tag at ${site}`, () => at(site).pull("demo/app", "v1"), 2_000);
      assert.equal(byTag.digest, image.digest);
    }
  });

  test("the pushing site shows its push right after the answer", async () => {
    for (let i = 0; i < 20; i++) {
      const one = makeImage(1_000);
      await at("eu").push("demo/ryw", `v${i}`, one);
      assert.equal((await at("eu").pull("demo/ryw", `v${i}`)).digest, one.digest);
    }
  });

  test("meridian replication --wait tells when every site holds the image whole", async () => {
    const result = await cluster.meridian(
      "replication",
      "demo/app:v1",
      "--wait",
      "us,ap",
      "--timeout",
      "30s",
      "--json",
    );
    assert.equal(result.code, 0, result.stderr);
    const { sites } = JSON.parse(result.stdout) as {
      sites: Array<{ name: string; state: string; blobsPresent: number; blobsTotal: number }>;
    };
    assert.deepEqual(sites.map((site) => [site.name, site.state]).sort(), [
      ["ap", "complete"],
      ["eu", "complete"],
      ["us", "complete"],
    ]);
    for (const site of sites) assert.equal(site.blobsPresent, site.blobsTotal);
  });

  test("an image that nobody has is absent, and waiting for it ends with exit code 1", async () => {
    const result = await cluster.meridian("replication", "demo/nothing:v1", "--json");
    assert.equal(result.code, 1);
  });

  test("a deleted tag is gone at every site and does not come back", async () => {
    const one = makeImage(500);
    await at("us").push("demo/gone", "v1", one);
    await until("tag at eu", async () => (await at("eu").call("/v2/demo/gone/manifests/v1")).status === 200);
    const deleted = await at("eu").call("/v2/demo/gone/manifests/v1", { method: "DELETE" });
    assert.equal(deleted.status, 202);
    assert.equal((await at("eu").call("/v2/demo/gone/manifests/v1")).status, 404);
    for (const site of ["us", "ap"]) {
      await until(
        `deleted at ${site}`,
        async () => (await at(site).call("/v2/demo/gone/manifests/v1")).status === 404,
        5_000,
      );
    }
    assert.equal((await at("eu").call("/v2/demo/gone/manifests/v1")).status, 404);
  });

  test("layers through one site and the manifest through another make one image", async () => {
    const one = makeImage(100_000, 50_000);
    await at("eu").pushBlob("demo/split", one.config);
    await at("us").pushBlob("demo/split", one.layers[0] ?? Buffer.alloc(0));
    await at("ap").pushBlob("demo/split", one.layers[1] ?? Buffer.alloc(0));
    const put = await at("us").call("/v2/demo/split/manifests/v1", {
      method: "PUT",
      headers: { "content-type": "application/vnd.oci.image.manifest.v1+json" },
      body: one.manifest,
    });
    assert.equal(put.status, 201, put.body.toString());
    assert.equal((await at("us").pull("demo/split", "v1")).digest, one.digest);
  });

  test("a version token of one site makes another wait until it shows that state", async () => {
    const one = makeImage(2_000);
    for (const blob of [one.config, ...one.layers]) await at("eu").pushBlob("demo/token", blob);
    const put = await at("eu").call("/v2/demo/token/manifests/v1", {
      method: "PUT",
      headers: { "content-type": "application/vnd.oci.image.manifest.v1+json" },
      body: one.manifest,
    });
    const version = String(put.headers["meridian-version"]);
    const got = await at("ap").call("/v2/demo/token/manifests/v1", { headers: { "meridian-min-version": version } });
    assert.equal(got.status, 200);
    assert.equal(got.digest, one.digest);
  });

  test("with eu killed, pulls at us and ap go on without a failure and us takes pushes; eu catches up when it is back", async () => {
    const killed = await cluster.meridian("site", "kill", "eu");
    assert.equal(killed.code, 0, killed.stderr);
    assert.equal(cluster.run.sites.find((site) => site.name === "eu")?.state, "stopped");
    for (let i = 0; i < 10; i++) {
      for (const site of ["us", "ap"]) assert.equal((await at(site).pull("demo/app", "v1")).digest, image.digest);
    }
    const one = makeImage(300_000);
    await at("us").push("demo/while-down", "v1", one);
    assert.equal((await cluster.meridian("site", "start", "eu")).code, 0);
    const fetched = await until("eu has it", () => at("eu").pull("demo/while-down", "v1"), 30_000);
    assert.equal(fetched.digest, one.digest);
  });

  test("everything is still there after a restart of the whole cluster, which is ready within 10 s", async () => {
    await cluster.stop();
    for (const site of ["eu", "us", "ap"]) {
      const log = readFileSync(join(cluster.home, "sites", site, "site.log"), "utf8");
      assert.match(log, /"message":"ended"/, site);
      assert.doesNotMatch(log, /told to end again/, `${site} was hurried`);
    }
    const readyMs = await cluster.start();
    assert.ok(readyMs < 10_000, `ready after ${readyMs} ms`);
    for (const site of ["eu", "us", "ap"]) assert.equal((await at(site).pull("demo/app", "v1")).digest, image.digest);
  });

  test("after kill -9 of the supervisor and its sites, start needs no repair", async () => {
    const pids = cluster.run.sites.flatMap((site) => site.processes.map((one) => one.pid));
    await cluster.stop("SIGKILL");
    assert.ok(pids.length === 3);
    await cluster.start();
    for (const site of ["eu", "us", "ap"]) assert.equal((await at(site).pull("demo/app", "v1")).digest, image.digest);
  });
});
