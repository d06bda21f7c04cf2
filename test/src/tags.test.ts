import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { DevProcess } from "./harness/dev-process.ts";
import { type Answer, MANIFEST_TYPE, makeImage, type OciClient, type TestImage } from "./harness/oci-client.ts";
import { until } from "./harness/until.ts";

const SITES = ["eu", "us", "ap"] as const;

interface Write {
  readonly who: string;
  readonly site: string;
  readonly action: string;
  readonly digest: string | null;
  readonly from: string | null;
  readonly lostTo: { readonly digest: string; readonly site: string } | null;
}

describe("tags of three sites", () => {
  let cluster: DevProcess;
  const at = (site: string): OciClient => cluster.at(site);
  const meridian = async (...args: string[]): Promise<string> => {
    const result = await cluster.meridian(...args);
    assert.equal(result.code, 0, `${args.join(" ")}: ${result.stderr}`);
    return result.stdout;
  };
  const named = async (site: string, repository: string, reference = "v1"): Promise<string | undefined> => {
    const answer = await at(site).call(`/v2/${repository}/manifests/${reference}`, { method: "HEAD" });
    assert.ok(answer.status === 200 || answer.status === 404, `${site}: ${answer.status}`);
    return answer.headers["docker-content-digest"] as string | undefined;
  };
  const everywhere = (what: string, repository: string, wanted: string | undefined, reference = "v1") =>
    until(what, async () => {
      for (const site of SITES) if ((await named(site, repository, reference)) !== wanted) return false;
      return true;
    });
  const history = async (site: string, repository: string, tag = "v1"): Promise<Write[]> => {
    const text = await meridian("tag", "history", `${repository}:${tag}`, "--server", cluster.gateway(site), "--json");
    return (JSON.parse(text) as { history: Write[] }).history;
  };
  const put = (site: string, repository: string, image: TestImage, headers = {}, tag = "v1"): Promise<Answer> =>
    at(site).call(`/v2/${repository}/manifests/${tag}`, {
      method: "PUT",
      headers: { "content-type": MANIFEST_TYPE, ...headers },
      body: image.manifest,
    });
  const cutOff = async (site: string, verb: "cut" | "heal"): Promise<void> => {
    for (const other of SITES) if (other !== site) await meridian("link", verb, `${site}-${other}`);
  };
  /** Images whose blobs are at every site's repository, so that only the manifest is left to be pushed. */
  const prepared = async (repository: string, count: number): Promise<TestImage[]> => {
    const images = Array.from({ length: count }, () => makeImage(500));
    for (const image of images)
      for (const blob of [image.config, ...image.layers])
        for (const site of SITES) await at(site).pushBlob(repository, blob);
    return images;
  };

  before(async () => {
    cluster = await DevProcess.start("--links");
  });
  after(() => cluster[Symbol.asyncDispose]());

  test("of two pushes at sites that could not see each other one wins everywhere; the other is in the history, can be pulled and put back", async () => {
    const [first, second] = [makeImage(500), makeImage(500)];
    await cutOff("eu", "cut");
    await at("eu").push("conflict/app", "v1", first);
    await at("us").push("conflict/app", "v1", second);
    await cutOff("eu", "heal");
    await everywhere("the later one wins at every site", "conflict/app", second.digest);
    for (const site of SITES) {
      const told = await until(`${site} has both lines`, async () => {
        const lines = await history(site, "conflict/app");
        return lines.length === 2 && lines;
      });
      assert.deepEqual(
        told.map((line) => [line.who, line.site, line.action, line.digest, line.from, line.lostTo?.digest]),
        [
          ["admin", "us", "put", second.digest, null, undefined],
          ["admin", "eu", "put", first.digest, null, second.digest],
        ],
        site,
      );
      await at(site).pull("conflict/app", first.digest);
    }
    const shown = await meridian("tag", "history", "conflict/app:v1");
    assert.match(shown, /put, lost to sha256:[0-9a-f]{12} of us \(conflict\)/);
    await meridian("tag", "restore", "conflict/app:v1", "--to", first.digest, "--server", cluster.gateway("ap"));
    await everywhere("the loser is back at every site", "conflict/app", first.digest);
    await until("its line too", async () => (await history("eu", "conflict/app"))[0]?.action === "restored");
  });

  test("exactly one of many conditional writers of a site succeeds, and each names what the one before made", async () => {
    const images = await prepared("exact/app", 6);
    const created = await Promise.all(images.map((image) => put("us", "exact/app", image, { "if-none-match": "*" })));
    assert.deepEqual(created.map(({ status }) => status).toSorted(), [201, 412, 412, 412, 412, 412]);
    let current = images[created.findIndex(({ status }) => status === 201)]!;
    for (let round = 0; round < 5; round += 1) {
      const condition = { "if-match": `"${current.digest}"` };
      const others = images.filter((image) => image !== current);
      const answers = await Promise.all(others.map((image) => put("us", "exact/app", image, condition)));
      const winners = others.filter((_, index) => answers[index]!.status === 201);
      assert.equal(winners.length, 1, answers.map(({ status }) => status).join());
      assert.equal(await named("us", "exact/app"), winners[0]!.digest);
      current = winners[0]!;
    }
  });

  test("with a home exactly one of all conditional writers of the cluster succeeds", async () => {
    await meridian("repo", "set", "homed", "tags=home:ap");
    assert.match(await meridian("repo", "show", "homed/app"), /tags +home:ap +homed/);
    const images = await prepared("homed/app", 6);
    let current: TestImage | undefined;
    for (let round = 0; round < 4; round += 1) {
      // One that puts what the tag names already changes nothing, so its condition goes on to hold: left out.
      const writers = images
        .filter((image) => image !== current)
        .flatMap((image) => SITES.map((site) => ({ site, image })));
      const condition = current === undefined ? { "if-none-match": "*" } : { "if-match": `"${current.digest}"` };
      const answers = await Promise.all(writers.map(({ site, image }) => put(site, "homed/app", image, condition)));
      const winners = writers.filter((_, index) => answers[index]!.status === 201);
      const statuses = answers.map(({ status }) => status);
      assert.equal(winners.length, 1, `round ${round}: ${statuses.join()}`);
      assert.ok(
        statuses.every((status) => status === 201 || status === 412),
        statuses.join(),
      );
      const { site, image } = winners[0]!;
      assert.equal(await named(site, "homed/app"), image.digest, "the site that was asked shows it");
      current = image;
    }
    const lines = await history("eu", "homed/app");
    assert.ok(lines.length >= 4 && lines.every(({ site, lostTo }) => site === "ap" && lostTo === null));
  });

  test("a home that is away refuses writes with 503 and Retry-After, serves pulls, and moves on the operator's word", async () => {
    await meridian("repo", "set", "away", "tags=home:eu");
    const [first, second] = await prepared("away/app", 2);
    assert.equal((await put("us", "away/app", first!)).status, 201);
    await everywhere("all show it", "away/app", first!.digest);
    await meridian("site", "kill", "eu");
    try {
      const refused = await put("us", "away/app", second!);
      assert.equal(refused.status, 503, refused.body.toString());
      assert.ok(Number(refused.headers["retry-after"]) > 0);
      assert.equal((await put("ap", "away/app", first!)).status, 201, "what the tag names already needs no home");
      await at("us").pull("away/app", "v1");
      // Without the sites that decide now no move begins: it could not end, and would stop every write.
      const early = await cluster.meridian("repo", "set", "early", "tags=home:us", "--server", cluster.gateway("us"));
      assert.match(early.stderr, /eu\/\S+ cannot acknowledge .*nothing was changed/);
      assert.equal(early.code, 1);
      await at("us").push("early/app", "v1", makeImage(300));
    } finally {
      await meridian("site", "start", "eu");
    }
    await until("eu is the home again", async () => (await put("us", "away/app", second!)).status === 201, 40_000);
    await until(
      "the home moves",
      async () => (await cluster.meridian("repo", "set", "away", "tags=home:us")).code === 0,
    );
    const moved = await until("ap knows the new home", async () => {
      const answer = await put("ap", "away/app", first!, { "if-match": `"${second!.digest}"` });
      return answer.status === 201 && answer;
    });
    assert.equal(moved.headers["meridian-site"], "us");
  });

  test("what a deleter had not seen survives, what it had seen never comes back", async () => {
    const [seen, unseen] = [makeImage(500), makeImage(500)];
    await at("eu").push("deleted/app", "v1", seen);
    await at("eu").push("deleted/app", "v2", seen);
    await everywhere("all show the first", "deleted/app", seen.digest);
    await everywhere("all show the second", "deleted/app", seen.digest, "v2");
    await cutOff("ap", "cut");
    await at("ap").push("deleted/app", "v1", unseen);
    await meridian("tag", "delete", "deleted/app:v1", "--server", cluster.gateway("us"));
    await meridian("tag", "delete", "deleted/app:v2", "--server", cluster.gateway("us"));
    assert.equal(await named("us", "deleted/app"), undefined, "gone at once where it was deleted");
    await cutOff("ap", "heal");
    await everywhere("the unseen push survives", "deleted/app", unseen.digest);
    await everywhere("the other tag is gone", "deleted/app", undefined, "v2");
  });

  test("a repository is deleted by each tag and manifest, everywhere, and can be restored whole", async () => {
    const images = [makeImage(500), makeImage(500), makeImage(500)];
    for (const [index, image] of images.entries()) await at("eu").push("whole/app", `v${index}`, image);
    await everywhere("all show the last", "whole/app", images[2]!.digest, "v2");
    const done = JSON.parse(await meridian("repo", "delete", "whole/app", "--json", "--server", cluster.gateway("us")));
    assert.deepEqual(done, { repository: "whole/app", deleted: { tags: 3, manifests: 3 } });
    for (const [index, image] of images.entries()) {
      await everywhere(`v${index} is gone`, "whole/app", undefined, `v${index}`);
      await everywhere(`its manifest too`, "whole/app", undefined, image.digest);
    }
    const restored = JSON.parse(
      await meridian("repo", "restore", "whole/app", "--json", "--server", cluster.gateway("ap")),
    );
    assert.deepEqual(restored, { repository: "whole/app", restored: { tags: 3, manifests: 0 }, failed: [] });
    for (const [index, image] of images.entries()) {
      await everywhere(`v${index} is back`, "whole/app", image.digest, `v${index}`);
      for (const site of SITES) await at(site).pull("whole/app", `v${index}`);
    }
  });
});
