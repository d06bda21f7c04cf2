import assert from "node:assert/strict";
import { networkInterfaces } from "node:os";
import { after, before, describe, test } from "node:test";
import { DevProcess } from "./harness/dev-process.ts";
import { makeImage } from "./harness/oci-client.ts";

describe("a cluster on ::1", { skip: cannotUse() }, () => {
  let cluster: DevProcess;

  before(async () => {
    cluster = await DevProcess.start("--sites", "eu", "--host", "::1");
  });
  after(() => cluster[Symbol.asyncDispose]());

  test("takes and serves an image at the address that run.json names", async () => {
    assert.equal(cluster.gateway("eu"), `https://[::1]:${cluster.basePort}`);
    const image = makeImage(1_000);
    await cluster.at("eu").push("six/app", "v1", image);
    assert.equal((await cluster.at("eu").pull("six/app", "v1")).digest, image.digest);
  });

  test("answers at the admin address that run.json names", async () => {
    const [eu] = cluster.run.sites;
    for (const path of ["/livez", "/readyz", "/metrics"]) {
      assert.equal((await fetch(`${eu?.admin}${path}`)).status, 200, `${eu?.admin}${path}`);
    }
  });

  test("is reached by the commands", async () => {
    const { code, stdout, stderr } = await cluster.meridian("status", "--json");
    assert.equal(code, 0, stderr);
    assert.equal(JSON.parse(stdout).sites[0].state, "ready");
  });
});

/** A machine without IPv6 has no ::1. */
function cannotUse(): string | false {
  const addresses = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
  return addresses.some(({ address }) => address === "::1") ? false : "needs the address ::1";
}
