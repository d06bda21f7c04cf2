import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { DevProcess } from "./harness/dev-process.ts";
import { type Answer, MANIFEST_TYPE, makeImage, type TestImage } from "./harness/oci-client.ts";
import { command, complete, meridian, ready } from "./harness/site-control.ts";
import { until } from "./harness/until.ts";

describe("a repository that wants its pushes at two sites", () => {
  let cluster: DevProcess;
  let folder: string;

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), "meridian-durability-"));
    const overlay = join(folder, "overlay.yaml");
    writeFileSync(overlay, "gateway:\n  durabilityWaitMs: 2500\n");
    cluster = await DevProcess.start("--links", "--config", overlay);
    await meridian(cluster, "repo", "set", "safe", "durability=sites:2");
    for (const site of ["eu", "us", "ap"]) {
      const known = async (): Promise<boolean> =>
        (await cluster.at(site).call("/v2/safe/app/_meridian/settings")).body.toString().includes("sites:2");
      await until(`${site} knows it`, known);
    }
  });
  after(async () => {
    await cluster[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  test("a push is answered once another site has all of it: it survives the pusher's kill -9 at that moment", async () => {
    const image = makeImage(3_000_000, 100_000);
    const answer = await push("safe/app", "v1", image);
    assert.equal(answer.status, 201);
    await command(cluster, { command: "site-kill", site: "eu" });
    const sites = String(answer.headers["meridian-durable-sites"]).split(",");
    assert.ok(sites.length >= 2 && sites.includes("eu"), sites.join());
    const other = sites.find((site) => site !== "eu")!;
    assert.equal((await cluster.at(other).pull("safe/app", "v1")).digest, image.digest);
    await command(cluster, { command: "site-start", site: "eu" });
    await ready(cluster, ["eu"]);
  });

  test("one that takes too long is answered 504, stands here, and is complete at the others later", async () => {
    for (const pair of ["eu-us", "eu-ap"]) {
      await command(cluster, { command: "link-limit", pair, bytesPerSecond: 1_000_000 });
    }
    const image = makeImage(8_000_000);
    const answer = await push("safe/app", "slow", image);
    assert.equal(answer.status, 504, answer.body.toString());
    assert.match(answer.body.toString(), /accepted here/);
    assert.equal((await cluster.at("eu").pull("safe/app", "slow")).digest, image.digest);
    for (const pair of ["eu-us", "eu-ap"]) await command(cluster, { command: "link-limit", pair });
    await complete(cluster, "eu", "safe/app", "slow");
    assert.equal((await push("safe/app", "slow", image)).status, 201, "the same push again");
  });

  test("with every other site out of reach a push is refused with 503 and leaves nothing; another repository's is not", async () => {
    for (const pair of ["eu-us", "eu-ap"])
      await command(cluster, { command: "link-cut", pair, oneWay: false, reset: true });
    const down = async (): Promise<boolean> => {
      const { sites } = JSON.parse((await cluster.at("eu").call("/v2/_meridian/status")).body.toString()) as {
        sites: ReadonlyArray<{ state: string }>;
      };
      return sites.filter(({ state }) => state === "down").length === 2;
    };
    await until("eu knows that it is alone", down, 20_000);
    const image = makeImage(50_000);
    const refused = await push("safe/app", "alone", image);
    assert.equal(refused.status, 503);
    assert.ok(Number(refused.headers["retry-after"]) > 0);
    assert.equal((await cluster.at("eu").call("/v2/safe/app/manifests/alone")).status, 404);
    assert.equal((await push("other/app", "alone", image)).status, 201);
    for (const pair of ["eu-us", "eu-ap"]) await command(cluster, { command: "link-heal", pair, oneWay: false });
    await until("it is taken again", async () => (await push("safe/app", "alone", image)).status === 201, 30_000);
  });

  async function push(repository: string, tag: string, image: TestImage): Promise<Answer> {
    const client = cluster.at("eu");
    for (const blob of [image.config, ...image.layers]) await client.pushBlob(repository, blob);
    return client.call(`/v2/${repository}/manifests/${tag}`, {
      method: "PUT",
      headers: { "content-type": MANIFEST_TYPE },
      body: image.manifest,
      timeoutMs: 30_000,
    });
  }
});
