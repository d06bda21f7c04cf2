import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { DevProcess } from "./harness/dev-process.ts";
import { makeImage, type OciClient } from "./harness/oci-client.ts";
import { until } from "./harness/until.ts";

describe("links that are cut, healed and slow", () => {
  let cluster: DevProcess;
  const at = (site: string): OciClient => cluster.at(site);
  const meridian = async (...args: string[]): Promise<void> => {
    const result = await cluster.meridian(...args);
    assert.equal(result.code, 0, `${args.join(" ")}: ${result.stderr}`);
  };
  const bytesInto = (site: string): number =>
    cluster.run.links.filter((link) => link.to === site).reduce((sum, link) => sum + link.bytes, 0);

  before(async () => {
    cluster = await DevProcess.start("--links");
  });
  after(() => cluster[Symbol.asyncDispose]());

  test("a site that was cut off streams a big blob from its holder as soon as the link heals; when that link is cut half-way, another holder goes on in the same answer", async () => {
    const image = makeImage(60_000_000);
    const layer = image.layers[0] ?? Buffer.alloc(0);
    await meridian("link", "cut", "eu-us");
    await meridian("link", "cut", "us-ap");
    await at("eu").push("cold/app", "v1", image);
    const receipt = await cluster.meridian(
      "replication",
      "cold/app:v1",
      "--server",
      cluster.gateway("eu"),
      "--wait",
      "ap",
      "--timeout",
      "60s",
    );
    assert.equal(receipt.code, 0, receipt.stderr);
    await meridian("link", "limit", "eu-us", "10MB");
    await meridian("link", "limit", "us-ap", "10MB");
    await meridian("link", "heal", "eu-us");
    await meridian("link", "heal", "us-ap");
    await until(
      "us can pull the manifest",
      async () => (await at("us").call("/v2/cold/app/manifests/v1")).status === 200,
      20_000,
    );
    const before = bytesInto("us");
    const pull = at("us").pullBlob("cold/app", image.digest === "" ? "" : digestOfLayer(image.manifest), layer.length);
    await until("half of it has crossed", () => bytesInto("us") - before > layer.length / 3, 30_000);
    // Whichever link carries it, the other holder has to take over.
    const carrying = cluster.run.links.filter((link) => link.to === "us").sort((a, b) => b.bytes - a.bytes)[0];
    await meridian("link", "cut", `${carrying?.from}-us`);
    const answer = await pull;
    assert.equal(answer.bytes, layer.length);
    await meridian("link", "heal", `${carrying?.from}-us`);
    for (const link of ["eu-us", "us-ap"]) await meridian("link", "limit", link, "none");
  });

  test("twenty pulls at once of a blob that the site does not hold cross the link once", async () => {
    const image = makeImage(30_000_000);
    const layer = image.layers[0] ?? Buffer.alloc(0);
    await meridian("link", "cut", "eu-us");
    await meridian("link", "cut", "us-ap");
    await at("eu").push("cold/many", "v1", image);
    await meridian("link", "limit", "eu-us", "20MB");
    await meridian("link", "limit", "us-ap", "20MB");
    const before = bytesInto("us");
    await meridian("link", "heal", "eu-us");
    await meridian("link", "heal", "us-ap");
    await until(
      "us can pull the manifest",
      async () => (await at("us").call("/v2/cold/many/manifests/v1")).status === 200,
      20_000,
    );
    const digest = digestOfLayer(image.manifest);
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => at("us").pullBlob("cold/many", digest, layer.length)),
    );
    assert.ok(answers.every((answer) => answer.bytes === layer.length));
    // run.json is written four times a second.
    const crossed = await until("the count has settled", async () => {
      const first = bytesInto("us");
      await new Promise((done) => setTimeout(done, 600));
      return bytesInto("us") - first < 200_000 ? first - before : false;
    });
    assert.ok(
      Number(crossed) <= layer.length * 1.05 + 500_000,
      `${crossed} bytes crossed for a blob of ${layer.length}`,
    );
    for (const link of ["eu-us", "us-ap"]) await meridian("link", "limit", link, "none");
  });

  test("records made on both sides of a cut meet after it heals", async () => {
    await meridian("link", "cut", "eu-us");
    await meridian("link", "cut", "eu-ap");
    const left = makeImage(10_000);
    const right = makeImage(10_000);
    await at("eu").push("split/left", "v1", left);
    await at("us").push("split/right", "v1", right);
    await meridian("link", "heal", "eu-us");
    await meridian("link", "heal", "eu-ap");
    await until("us sees eu's", () => at("us").pull("split/left", "v1"), 20_000);
    await until("eu sees us's", () => at("eu").pull("split/right", "v1"), 20_000);
  });

  test("a direct link that is cut both ways, or one way, whichever, is gone round by the third site", async () => {
    for (const [index, cut] of [["eu-us"], ["eu-us", "--one-way"], ["us-eu", "--one-way"]].entries()) {
      await meridian("link", "cut", ...cut);
      const image = makeImage(10_000);
      await at("eu").push("round/app", `v${index}`, image);
      const pulled = await until("us has it", () => at("us").pull("round/app", `v${index}`), 20_000);
      assert.equal(pulled.digest, image.digest, cut.join(" "));
      const back = makeImage(10_000);
      await at("us").push("round/app", `back${index}`, back);
      await until("eu has us's", () => at("eu").pull("round/app", `back${index}`), 20_000);
      await meridian("link", "heal", "eu-us");
    }
  });

  test("a one-way cut is healed as well, and unknown links are refused with the names there are", async () => {
    await meridian("link", "cut", "eu-us", "--one-way", "--reset");
    assert.equal(await linkState("eu", "us"), "cut");
    assert.equal(await linkState("us", "eu"), "up");
    await meridian("link", "heal", "us-eu");
    assert.equal(await linkState("eu", "us"), "up");
    const wrong = await cluster.meridian("link", "cut", "eu-mars");
    assert.equal(wrong.code, 1);
    assert.match(wrong.stderr, /eu, us, ap/);
  });

  async function linkState(from: string, to: string): Promise<string | undefined> {
    const result = await cluster.meridian("status", "--json");
    const { links } = JSON.parse(result.stdout) as { links: Array<{ from: string; to: string; state: string }> };
    return links.find((link) => link.from === from && link.to === to)?.state;
  }
});

function digestOfLayer(manifest: Buffer): string {
  return (JSON.parse(manifest.toString()) as { layers: Array<{ digest: string }> }).layers[0]?.digest ?? "";
}
