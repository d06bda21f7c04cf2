import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { DevProcess } from "./harness/dev-process.ts";
import { makeImage } from "./harness/oci-client.ts";
import { needs } from "./harness/programs.ts";
import { meridian } from "./harness/site-control.ts";
import { until } from "./harness/until.ts";

describe("sites that come and go, every service its own process on NATS", { skip: needs("nats-server") }, () => {
  let cluster: DevProcess;

  before(async () => {
    cluster = await DevProcess.start("--nats", "--sites", "eu");
  });
  after(() => cluster[Symbol.asyncDispose]());

  test("a site is added, filled, drained and removed", async () => {
    const [old, lonely] = [makeImage(800_000), makeImage(600_000)];
    await cluster.at("eu").push("app", "old", old);
    await meridian(cluster, "site", "add", "us", "--wait", "--timeout", "120s");
    assert.equal((await cluster.at("us").pull("app", "old")).digest, old.digest);
    await meridian(cluster, "repo", "set", "lonely", "placement=eu:lazy");
    await until("us knows what is set", async () =>
      (await cluster.at("us").call("/v2/lonely/app/_meridian/settings")).body.toString().includes("eu:lazy"),
    );
    await cluster.at("us").push("lonely/app", "v1", lonely);
    assert.match(await meridian(cluster, "site", "drain", "us", "--wait", "--timeout", "60s"), /nothing is only here/);
    await meridian(cluster, "site", "remove", "us");
    assert.equal((await cluster.at("eu").pull("lonely/app", "v1")).digest, lonely.digest);
    await cluster.at("eu").push("app", "after", makeImage(10_000));
    const { sites } = JSON.parse(await meridian(cluster, "site", "list", "--json")) as {
      sites: { site: string; membership: string }[];
    };
    assert.deepEqual(
      sites.map(({ site, membership }) => `${site} ${membership}`),
      ["eu active", "us removed"],
    );
  });
});
