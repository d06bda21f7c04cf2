import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { openLmdbStore } from "@meridian/keyvalue";
import { DevProcess } from "./harness/dev-process.ts";
import { digestOf, makeImage, type TestImage } from "./harness/oci-client.ts";
import { needs } from "./harness/programs.ts";
import { command, complete, meridian, ready, SITES } from "./harness/site-control.ts";
import { until } from "./harness/until.ts";

interface Comparison {
  readonly site: string;
  readonly other: string;
  readonly found: number;
  readonly repaired: number;
  readonly registers: number;
  readonly messages: number;
  readonly differences: ReadonlyArray<{
    readonly kind: string;
    readonly name: string;
    readonly left: string;
    readonly right: string;
    readonly state: string;
  }>;
}

async function diff(cluster: DevProcess, ...args: string[]): Promise<{ code: number; comparisons: Comparison[] }> {
  const { code, stdout, stderr } = await cluster.meridian("diff", ...args, "--json");
  assert.notEqual(stdout, "", stderr);
  return { code, comparisons: (JSON.parse(stdout) as { comparisons: Comparison[] }).comparisons };
}

/** Takes rows out of the view of a process that does not run. */
async function removeRows(path: string, ...keys: string[]): Promise<void> {
  await using store = await openLmdbStore({ path, volatile: true });
  await store.transaction((tx) => {
    for (const key of keys) assert.equal(tx.delete(key), true, key);
  });
}

function fileOf(cluster: DevProcess, process: string, digest: string): string {
  const hex = digest.slice("sha256:".length);
  return join(cluster.home, "sites", process, "blobs", "blobs", "sha256", hex.slice(0, 2), hex);
}

describe("three sites that are compared", () => {
  let cluster: DevProcess;
  let image: TestImage;

  before(async () => {
    cluster = await DevProcess.start();
    image = makeImage(40_000, 50_000);
    for (const [index, site] of SITES.entries()) await cluster.at(site).push("team/app", `v${index}`, image);
    await cluster.at("us").push("team/other", "v1", makeImage(30_000));
    for (const index of SITES.keys()) await complete(cluster, "eu", "team/app", `v${index}`);
    await complete(cluster, "eu", "team/other", "v1");
  });
  after(() => cluster[Symbol.asyncDispose]());

  test("they hold the same, and every pair says so", async () => {
    const { code, comparisons } = await diff(cluster);
    assert.equal(code, 0);
    assert.deepEqual(
      comparisons.map(({ site, other, found }) => [site, other, found]),
      [
        ["eu", "us", 0],
        ["eu", "ap", 0],
        ["us", "ap", 0],
      ],
    );
    assert.ok(comparisons.every(({ registers, messages }) => registers > 20 && messages === 3));
    assert.match(
      await meridian(cluster, "diff", "us", "ap"),
      /^us and ap hold the same \(\d+ registers, \d+ blobs, 3 messages\)\n$/,
    );
  });

  test("a record and a blob that went behind the sites' backs are named, and repaired", async () => {
    await command(cluster, { command: "site-stop", site: "us" });
    await removeRows(join(cluster.home, "sites/us/site/view"), "rt team/app v1", "t team/app v1");
    await command(cluster, { command: "site-start", site: "us" });
    await ready(cluster);
    const layer = digestOf(image.layers[1]!);
    rmSync(fileOf(cluster, "ap/site", layer));
    const gone = await cluster.at("us").call("/v2/team/app/manifests/v1", { method: "HEAD" });
    assert.equal(gone.status, 404);

    const found = await diff(cluster, "us", "ap");
    assert.equal(found.code, 1);
    assert.deepEqual(
      found.comparisons[0]?.differences.map(({ kind, name, state }) => [kind, name, state]),
      [
        ["tag", "team/app:v1", "found"],
        ["blob", `${layer} (50000 bytes)`, "found"],
      ],
    );

    const repaired = await diff(cluster, "us", "ap", "--repair");
    assert.equal(repaired.code, 0, JSON.stringify(repaired));
    assert.deepEqual(
      repaired.comparisons[0]?.differences.map(({ state }) => state),
      ["repaired", "repaired"],
    );
    assert.ok(existsSync(fileOf(cluster, "ap/site", layer)));
    assert.equal((await cluster.at("us").pull("team/app", "v1")).digest, image.digest);
    assert.equal((await diff(cluster)).code, 0);
    await cluster.at("us").call("/v2/team/app/manifests/v1", { method: "DELETE" });
    for (const site of SITES)
      await until(`${site} shows no v1`, async () => {
        const answer = await cluster.at(site).call("/v2/team/app/manifests/v1", { method: "HEAD" });
        return answer.status === 404;
      });
  });

  test("wrong use ends with exit code 2, a site that does not answer with 1", async () => {
    assert.equal((await cluster.meridian("diff", "eu")).code, 2);
    assert.equal((await cluster.meridian("diff", "eu", "nowhere")).code, 1);
    await command(cluster, { command: "site-stop", site: "ap" });
    const { code, stderr } = await cluster.meridian("diff", "eu", "ap");
    assert.equal(code, 1);
    assert.match(stderr, /eu and ap: ap: /);
    await command(cluster, { command: "site-start", site: "ap" });
    await ready(cluster);
  });
});

describe("sites whose services are processes of their own", { skip: needs("nats-server") }, () => {
  test("what one of two gateways has lost is found and put back by itself, with a line in the log", async () => {
    const folder = mkdtempSync(join(tmpdir(), "meridian-diff-"));
    try {
      const settings = join(folder, "settings.yaml");
      writeFileSync(settings, "replicator: { compareEveryMs: 2000 }\n");
      const args = ["--nats", "--sites", "eu,us", "--gateways", "2", "--config", settings];
      await using cluster = await DevProcess.start(...args);
      const image = makeImage(20_000);
      await cluster.at("eu").push("team/app", "v1", image);
      await complete(cluster, "eu", "team/app", "v1", ["eu", "us"]);
      await command(cluster, { command: "process-kill", process: "us/gateway-2", hold: true });
      await removeRows(join(cluster.home, "sites/us/gateway-2/view"), "rt team/app v1", "t team/app v1");
      await command(cluster, { command: "process-start", process: "us/gateway-2" });
      const found = await until("eu says what it found", () => {
        const log = readFileSync(join(cluster.home, "sites/eu/replicator-1.log"), "utf8");
        const line = log.split("\n").find((one) => one.includes('"event":"diff.found"'));
        return line === undefined
          ? false
          : (JSON.parse(line) as { found: number; repaired: number; examples: string[] });
      });
      assert.deepEqual([found.found, found.repaired], [1, 1]);
      assert.match(
        found.examples[0] ?? "",
        /^tag team\/app:v1: eu\/replicator-1 has sha256:.*; us\/gateway-2 has nothing$/,
      );
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});
