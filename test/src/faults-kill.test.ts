import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createReadStream, globSync } from "node:fs";
import { basename, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { DevProcess } from "./harness/dev-process.ts";
import { MANIFEST_TYPE, makeImage, type TestImage } from "./harness/oci-client.ts";
import { type Seeded, seeded } from "./harness/seeded.ts";
import { command, complete, ready, SITES, type SiteName } from "./harness/site-control.ts";
import { possibleEnds, type TagWrite } from "./harness/tag-writes.ts";
import { until } from "./harness/until.ts";

/** How often a process is killed. */
const ROUNDS = Number(process.env.MERIDIAN_KILL_ROUNDS ?? 25);
/** Clients per site. */
const WORKERS = 2;
const REPOSITORY = "kill/app";
const TAGS = ["a", "b", "c", "d", "e", "f"];

describe("kill -9 of site processes at random moments of pushes, retags and deletes at all sites", () => {
  const random = seeded();
  const writes: TagWrite[] = [];
  /** Images whose manifest PUT was answered 201 at least once. */
  const acknowledged = new Map<string, TestImage>();
  /** Repositories of one image each, by what a delete of its manifest by digest came to. */
  const removed = new Map<string, { image: TestImage; outcome: TagWrite["outcome"] }>();
  let cluster: DevProcess;
  /** Steps of workers that failed. */
  let interrupted = 0;

  before(async () => {
    cluster = await DevProcess.start();
  });
  after(() => cluster[Symbol.asyncDispose]());

  test(`nothing breaks while ${ROUNDS} processes die`, { timeout: 15 * 60_000 }, async (context) => {
    context.diagnostic(`MERIDIAN_SEED=${random.seed}`);
    const stop = new AbortController();
    const working = SITES.flatMap((site) =>
      Array.from({ length: WORKERS }, () => work(site, seeded(random.integer(0, 2 ** 31)), stop.signal)),
    );
    for (let round = 0; round < ROUNDS; round++) await killOne(random.pick(SITES));
    stop.abort();
    await Promise.all(working);
    const known = writes.filter((write) => write.outcome === "acknowledged").length;
    context.diagnostic(`${known} of ${writes.length} tag writes acknowledged, ${removed.size} deletes by digest`);
    assert.ok(known >= ROUNDS, `only ${known} of ${writes.length} writes were acknowledged`);
    assert.ok(interrupted > 0, "no request was hit");
  });

  test("all sites are ready again without repair, and list the same tags and digests", async () => {
    await ready(cluster);
    await until("all sites show the same", sameEverywhere, 30_000);
  });

  test("every tag names a put that no later acknowledged one replaced; what was deleted is gone", async () => {
    const shown = await tagsAt("eu");
    for (const tag of TAGS) {
      const of = writes.filter((write) => write.tag === tag);
      const ends = possibleEnds(of);
      assert.ok(
        ends.has(shown.get(tag)),
        `tag ${tag} names ${shown.get(tag)}, possible: ${[...ends].join(", ")} (MERIDIAN_SEED=${random.seed})\n${JSON.stringify(of, undefined, 1)}`,
      );
    }
    for (const [repository, { image, outcome }] of removed) {
      if (outcome === "unknown") continue;
      for (const site of SITES) {
        for (const reference of ["v1", image.digest]) {
          const answer = await cluster.at(site).call(`/v2/${repository}/manifests/${reference}`);
          assert.equal(answer.status, 404, `${repository}:${reference} at ${site} after it was deleted by digest`);
        }
      }
    }
  });

  test("every image that was answered 201 is pulled whole at every site", async () => {
    const pullAll = async (site: SiteName): Promise<void> => {
      for (const digest of acknowledged.keys()) {
        const pulled = await until(`${digest} at ${site}`, () => cluster.at(site).pull(REPOSITORY, digest), 20_000);
        assert.equal(pulled.digest, digest);
      }
      for (const [tag, digest] of await tagsAt(site)) {
        assert.equal((await cluster.at(site).pull(REPOSITORY, tag)).digest, digest);
      }
    };
    await Promise.all(SITES.map(pullAll));
  });

  test("every site comes to hold every image, and no file under a digest's name has other bytes", async () => {
    const [some] = [...acknowledged.keys()].slice(-1);
    await complete(cluster, "us", REPOSITORY, some ?? "");
    for (const site of SITES) {
      const files = globSync(join(cluster.home, "sites", site, "site/blobs/blobs/sha256/*/*"));
      assert.ok(files.length > acknowledged.size, `${site} holds ${files.length} blobs`);
      for (const file of files) assert.equal(await hashOf(file), basename(file), file);
    }
  });

  /** Most often while it works, else while it comes up; others may be coming up meanwhile. */
  async function killOne(site: SiteName): Promise<void> {
    if (random.integer(0, 5) > 0) await ready(cluster, [site]);
    await sleep(random.integer(20, 800));
    await command(cluster, { command: "site-kill", site });
    await command(cluster, { command: "site-start", site });
  }

  async function work(site: SiteName, choose: Seeded, stop: AbortSignal): Promise<void> {
    while (!stop.aborted) {
      // Leaves the machine to those that come up again.
      await sleep(choose.integer(0, 60));
      const dice = choose.integer(0, 10);
      try {
        if (dice < 5) await putNew(site, choose.pick(TAGS));
        else if (dice < 7) await retag(site, choose);
        else if (dice < 9) await deleteTag(site, choose.pick(TAGS));
        else await pushAndDeleteByDigest(site, `kill/one-${removed.size}-${site}`, choose.pick(SITES));
      } catch {
        interrupted += 1;
        await ready(cluster, [site]).catch(() => undefined);
      }
    }
  }

  async function putNew(site: SiteName, tag: string): Promise<void> {
    const image = makeImage(20_000, 300);
    for (const blob of [image.config, ...image.layers]) await cluster.at(site).pushBlob(REPOSITORY, blob);
    await put(site, tag, image);
  }

  /** Names an image of another tag, pushed at whatever site. */
  async function retag(site: SiteName, choose: Seeded): Promise<void> {
    const tag = choose.pick(TAGS);
    const image = acknowledged.size === 0 ? undefined : choose.pick([...acknowledged.values()]);
    if (image === undefined || writes.some((write) => write.tag === tag && write.digest === image.digest)) return;
    await put(site, tag, image);
  }

  async function put(site: SiteName, tag: string, image: TestImage): Promise<void> {
    const path = `/v2/${REPOSITORY}/manifests/${tag}`;
    const headers = { "content-type": MANIFEST_TYPE };
    const write = begun({ tag, site, digest: image.digest });
    const answer = await ended(
      write,
      cluster.at(site).call(path, { method: "PUT", headers, body: image.manifest }),
      201,
    );
    if (answer === "acknowledged") acknowledged.set(image.digest, image);
  }

  async function deleteTag(site: SiteName, tag: string): Promise<void> {
    const path = `/v2/${REPOSITORY}/manifests/${tag}`;
    const shown = await cluster.at(site).call(path, { method: "HEAD" });
    if (shown.status !== 200) return;
    const write = begun({ tag, site, seen: String(shown.headers["docker-content-digest"]) });
    const outcome = await ended(write, cluster.at(site).call(path, { method: "DELETE" }), 202);
    if (outcome !== "acknowledged") return;
    const now = await cluster.at(site).call(path, { method: "HEAD" });
    assert.notEqual(now.headers["docker-content-digest"], write.seen, `${tag} at ${site} right after its delete`);
  }

  async function pushAndDeleteByDigest(site: SiteName, repository: string, deleter: SiteName): Promise<void> {
    const image = makeImage(2_000);
    removed.set(repository, { image, outcome: "unknown" });
    await cluster.at(site).push(repository, "v1", image);
    const at = cluster.at(deleter);
    // By digest a site shows what others know; only the tags that it has seen itself go with the manifest.
    const shown = async (): Promise<boolean> => (await at.call(`/v2/${repository}/manifests/v1`)).status === 200;
    await until("the deleter shows it", shown, 10_000);
    const answer = await at.call(`/v2/${repository}/manifests/${image.digest}`, { method: "DELETE" });
    if (answer.status === 202) removed.set(repository, { image, outcome: "acknowledged" });
  }

  function begun(write: Pick<TagWrite, "tag" | "site" | "digest" | "seen">): TagWrite {
    const started: TagWrite = {
      ...write,
      startedAt: performance.now(),
      endedAt: Number.POSITIVE_INFINITY,
      outcome: "unknown",
    };
    writes.push(started);
    return started;
  }

  async function ended(
    write: TagWrite,
    answering: Promise<{ status: number }>,
    wanted: number,
  ): Promise<TagWrite["outcome"]> {
    try {
      if ((await answering).status === wanted) write.outcome = "acknowledged";
    } finally {
      write.endedAt = performance.now();
    }
    return write.outcome;
  }

  async function tagsAt(site: SiteName): Promise<Map<string, string>> {
    const listed = await cluster.at(site).call(`/v2/${REPOSITORY}/tags/list`);
    assert.equal(listed.status, 200, listed.body.toString());
    const { tags } = JSON.parse(listed.body.toString()) as { tags: string[] };
    const digests = new Map<string, string>();
    for (const tag of tags) {
      const answer = await cluster.at(site).call(`/v2/${REPOSITORY}/manifests/${tag}`);
      assert.equal(answer.status, 200, `${tag} is listed at ${site}: ${answer.body.toString()}`);
      digests.set(tag, answer.digest);
    }
    return digests;
  }

  async function sameEverywhere(): Promise<boolean> {
    const shown = await Promise.all(SITES.map(async (site) => [...(await tagsAt(site))].sort()));
    const catalogs = await Promise.all(
      SITES.map(async (site) => (await cluster.at(site).call("/v2/_catalog?n=1000")).body),
    );
    return shown.every((one) => `${one}` === `${shown[0]}`) && catalogs.every((one) => `${one}` === `${catalogs[0]}`);
  }
});

async function hashOf(file: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest("hex");
}
