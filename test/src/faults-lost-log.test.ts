import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { formatVersion, parseVersion } from "@meridian/catalog";
import { DevProcess } from "./harness/dev-process.ts";
import { type Answer, MANIFEST_TYPE, makeImage, type TestImage } from "./harness/oci-client.ts";
import { needs } from "./harness/programs.ts";
import { command, complete, meridian, ready, SITES } from "./harness/site-control.ts";
import { until } from "./harness/until.ts";

const REPOSITORY = "lost/app";

/** The images that were answered 201, what was deleted, and what was told of their versions. */
class Acknowledged {
  readonly images = new Map<string, TestImage>();
  readonly deleted: string[] = [];
  /** `Meridian-Version` of each tag's push. */
  readonly versions = new Map<string, string>();
  readonly #cluster: DevProcess;

  constructor(cluster: DevProcess) {
    this.#cluster = cluster;
  }

  async push(site: string, tag: string): Promise<void> {
    const image = makeImage(50_000, 3_000);
    await this.#cluster.at(site).push(REPOSITORY, tag, image);
    this.images.set(tag, image);
    const again = await putManifest(this.#cluster, site, tag, image);
    assert.equal(again.status, 201, again.body.toString());
    this.versions.set(tag, String(again.headers["meridian-version"]));
  }

  async delete(site: string, tag: string): Promise<void> {
    const answer = await this.#cluster.at(site).call(`/v2/${REPOSITORY}/manifests/${tag}`, { method: "DELETE" });
    assert.equal(answer.status, 202, answer.body.toString());
    this.images.delete(tag);
    this.deleted.push(tag);
  }

  /** Every site has what was acknowledged, and shows nothing of what was deleted. */
  async check(): Promise<void> {
    for (const site of SITES) {
      for (const [tag, { digest }] of this.images) {
        const pulled = await until(`${tag} at ${site}`, () => this.#cluster.at(site).pull(REPOSITORY, tag));
        assert.equal(pulled.digest, digest, `${tag} at ${site}`);
      }
      for (const tag of this.deleted) {
        const answer = await this.#cluster.at(site).call(`/v2/${REPOSITORY}/manifests/${tag}`);
        assert.equal(answer.status, 404, `the deleted ${tag} is back at ${site}`);
      }
    }
  }
}

function putManifest(cluster: DevProcess, site: string, tag: string, { manifest }: TestImage): Promise<Answer> {
  const headers = { "content-type": MANIFEST_TYPE };
  return cluster.at(site).call(`/v2/${REPOSITORY}/manifests/${tag}`, { method: "PUT", headers, body: manifest });
}

function asking(cluster: DevProcess, site: string, tag: string, version: string): Promise<Answer> {
  const headers = { accept: MANIFEST_TYPE, "meridian-min-version": version };
  return cluster.at(site).call(`/v2/${REPOSITORY}/manifests/${tag}`, { headers });
}

function requireRefused(answer: Answer, what: string): void {
  assert.equal(answer.status, 503, `${what}: ${answer.status} ${answer.body}`);
  assert.match(String(answer.headers["retry-after"]), /^\d+$/, what);
  assert.match(answer.body.toString(), /site us takes no writes before its log has what other sites hold of it/, what);
}

describe("a site whose disk was replaced", () => {
  let cluster: DevProcess;
  let acknowledged: Acknowledged;

  before(async () => {
    // Without its disk the site knows no users either, until it reaches the home of the policy.
    cluster = await DevProcess.start("--links", "--anonymous", "admin");
    acknowledged = new Acknowledged(cluster);
    for (const site of SITES) await acknowledged.push(site, `from-${site}`);
    for (const tag of ["gone", "kept"]) await acknowledged.push("us", tag);
    await acknowledged.delete("us", "gone");
    for (const tag of acknowledged.images.keys()) await complete(cluster, "eu", REPOSITORY, tag);
    await until("ap knows of the delete", async () => {
      const { status } = await cluster.at("ap").call(`/v2/${REPOSITORY}/manifests/gone`);
      return status === 404;
    });
    await command(cluster, { command: "site-kill", site: "us" });
    for (const link of ["eu-us", "us-ap"]) await meridian(cluster, "link", "cut", link);
    rmSync(join(cluster.home, "sites/us/site"), { recursive: true });
    await command(cluster, { command: "site-start", site: "us" });
    await until("us answers", () => cluster.at("us").call("/livez"));
  });
  after(() => cluster?.[Symbol.asyncDispose]());

  test("takes no writes while no other site can be asked, and says what it waits for", async () => {
    const image = makeImage(1_000);
    const told = await until("it says whom it waits for", async () => {
      const answer = await putManifest(cluster, "us", "new", image);
      requireRefused(answer, "a push");
      return /waiting for eu, ap/.test(answer.body.toString()) && answer;
    });
    assert.match(told.body.toString(), /"reason":"restoring"/);
    const upload = await cluster.at("us").call(`/v2/${REPOSITORY}/blobs/uploads/`, { method: "POST" });
    requireRefused(upload, "an upload, before any byte of it is sent");
    const removal = await cluster.at("us").call(`/v2/${REPOSITORY}/manifests/kept`, { method: "DELETE" });
    requireRefused(removal, "a delete");
    const status = await cluster.meridian("status");
    assert.match(status.stdout, /us .*restore: site us takes no writes/);
    const restore = await cluster.meridian("site", "restore", "us", "--server", cluster.gateway("us"));
    assert.equal(restore.code, 1);
    assert.match(restore.stdout, /waiting for eu, ap/);
  });

  test("has everything that was acknowledged once one other site can be asked, and takes writes then", async () => {
    await meridian(cluster, "link", "heal", "us-ap");
    const image = makeImage(1_000);
    await until("a push is taken", () => cluster.at("us").push(REPOSITORY, "after", image), 30_000);
    acknowledged.images.set("after", image);
    const restore = await cluster.meridian("site", "restore", "us", "--server", cluster.gateway("us"));
    assert.equal(restore.code, 0, restore.stderr);
    await meridian(cluster, "link", "heal", "eu-us");
    await ready(cluster);
    await acknowledged.check();
  });

  test("what it deletes and pushes now comes after all that it had written", async () => {
    await acknowledged.delete("us", "kept");
    await acknowledged.push("us", "gone");
    acknowledged.deleted.splice(acknowledged.deleted.indexOf("gone"), 1);
    await until("all sites show it", async () => {
      await acknowledged.check();
      return true;
    });
  });

  test("versions of what the other sites held stay good; of what nobody had they are refused at once, with the reason", async () => {
    for (const site of SITES) {
      const version = acknowledged.versions.get("from-us")!;
      const answer = await asking(cluster, site, "from-us", version);
      assert.equal(answer.status, 200, `${site}: ${answer.body}`);
      const position = parseVersion(version).get("us")!;
      const beyond = formatVersion(new Map([["us", { ...position, sequence: position.sequence + 1_000 }]]));
      const asked = performance.now();
      const lost = await asking(cluster, site, "from-us", beyond);
      assert.equal(lost.status, 503, `${site}: ${lost.body}`);
      assert.match(lost.body.toString(), /"reason":"lost"/);
      assert.ok(performance.now() - asked < 3_000, "it is not waited for");
    }
  });
});

describe("a site whose view is damaged", () => {
  let cluster: DevProcess;

  before(async () => {
    cluster = await DevProcess.start("--sites", "eu,us");
  });
  after(() => cluster?.[Symbol.asyncDispose]());

  test("drops it, however its process dies of it, and folds it again", async () => {
    const image = makeImage(20_000);
    await cluster.at("eu").push(REPOSITORY, "v1", image);
    await complete(cluster, "eu", REPOSITORY, "v1", ["eu", "us"]);
    await command(cluster, { command: "site-stop", site: "us" });
    writeFileSync(join(cluster.home, "sites/us/site/view/data.mdb"), Buffer.alloc(200_000, 0x5a));
    await command(cluster, { command: "site-start", site: "us" });
    await ready(cluster, ["us"], 60_000);
    assert.equal((await cluster.at("us").pull(REPOSITORY, "v1")).digest, image.digest);
    await cluster.at("us").push(REPOSITORY, "v2", makeImage(1_000));
  });
});

describe("a site whose nats-server lost its store", { skip: needs("nats-server") }, () => {
  let cluster: DevProcess;

  before(async () => {
    cluster = await DevProcess.start("--nats", "--sites", "eu,us");
  });
  after(() => cluster?.[Symbol.asyncDispose]());

  test("takes writes again once what it had written is back in its log, and every process of it knows", async () => {
    const image = makeImage(20_000);
    const other = makeImage(20_000);
    await cluster.at("us").push(REPOSITORY, "v1", image);
    const put = await putManifest(cluster, "us", "v1", image);
    const version = String(put.headers["meridian-version"]);
    await complete(cluster, "eu", REPOSITORY, "v1", ["eu", "us"]);
    await command(cluster, { command: "process-kill", process: "us/nats-1", hold: true });
    rmSync(join(cluster.home, "sites/us/nats-1"), { recursive: true });
    await command(cluster, { command: "process-start", process: "us/nats-1" });
    await until("a push is taken", () => cluster.at("us").push(REPOSITORY, "v2", other), 60_000);
    for (const site of ["eu", "us"]) {
      for (const [tag, { digest }] of [
        ["v1", image],
        ["v2", other],
      ] as const) {
        const pulled = await until(`${tag} at ${site}`, () => cluster.at(site).pull(REPOSITORY, tag));
        assert.equal(pulled.digest, digest);
      }
      const answer = await asking(cluster, site, "v1", version);
      assert.equal(answer.status, 200, `${site}: ${answer.body}`);
    }
    const restore = await cluster.meridian("site", "restore", "us", "--server", cluster.gateway("us"));
    assert.equal(restore.code, 0, restore.stderr + restore.stdout);
  });
});
