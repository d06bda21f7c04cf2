import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { DevProcess } from "./harness/dev-process.ts";
import { makeImage } from "./harness/oci-client.ts";
import { command, complete } from "./harness/site-control.ts";
import { until } from "./harness/until.ts";

const MIB = 1024 * 1024;

describe("a large image over a link of 80 ms", () => {
  let cluster: DevProcess;

  before(async () => {
    cluster = await DevProcess.start("--sites", "eu,us", "--links", "--rtt", "eu-us=80");
  });
  after(() => cluster[Symbol.asyncDispose]());

  const crossed = (): number => cluster.run.links.find(({ from, to }) => from === "eu" && to === "us")?.bytes ?? 0;

  test("that is cut three times loses at most 8 MiB at each cut", async (context) => {
    await command(cluster, { command: "link-limit", pair: "eu-us", bytesPerSecond: 30_000_000 });
    const image = makeImage(120_000_000);
    const before = crossed();
    await cluster.at("eu").push("long/app", "v1", image);
    for (const part of [0.2, 0.5, 0.8]) {
      await until(`${part} of it has crossed`, async () => crossed() - before > part * 120_000_000, 60_000);
      await command(cluster, { command: "link-cut", pair: "eu-us", oneWay: false, reset: true });
      const atCut = crossed();
      // Whoever was sending has noticed when nothing comes any more.
      await until("nothing crosses", async () => crossed() === atCut, 5_000);
      await command(cluster, { command: "link-heal", pair: "eu-us", oneWay: false });
    }
    await complete(cluster, "eu", "long/app", "v1", ["eu", "us"]);
    const twice = crossed() - before - 120_000_000;
    // Records, heartbeats and TLS are among what crosses.
    context.diagnostic(`${(twice / MIB).toFixed(1)} MiB crossed beside the image, or twice`);
    assert.ok(twice <= 24 * MIB, `${(twice / MIB).toFixed(1)} MiB crossed twice`);
    assert.equal((await cluster.at("us").pull("long/app", "v1")).digest, image.digest);
  });
});
