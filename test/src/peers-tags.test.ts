import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { DevProcess } from "./harness/dev-process.ts";
import { MANIFEST_TYPE, makeImage, OciClient } from "./harness/oci-client.ts";
import { needs } from "./harness/programs.ts";
import { until } from "./harness/until.ts";

const SITES = ["eu", "us", "ap"] as const;

interface Write {
  readonly digest: string;
  readonly lostTo: unknown;
}

/** What users of other registries lost, each tried here; the thread is named in the test. */
describe("what others lost of tags and deletions", () => {
  let cluster: DevProcess;
  const at = (site: string): OciClient => cluster.at(site);
  const meridian = async (...args: string[]): Promise<void> => {
    const result = await cluster.meridian(...args);
    assert.equal(result.code, 0, `${args.join(" ")}: ${result.stderr}`);
  };
  const status = async (site: string, repository: string, reference: string): Promise<number> =>
    (await at(site).call(`/v2/${repository}/manifests/${reference}`, { method: "HEAD" })).status;
  const everywhere = (repository: string, reference: string, wanted: number) =>
    until(`${repository}:${reference} is ${wanted} at every site`, async () => {
      for (const site of SITES) if ((await status(site, repository, reference)) !== wanted) return false;
      return true;
    });
  const remove = async (site: string, repository: string, reference: string): Promise<void> => {
    const answer = await at(site).call(`/v2/${repository}/manifests/${reference}`, { method: "DELETE" });
    assert.equal(answer.status, 202, answer.body.toString());
  };

  before(async () => {
    cluster = await DevProcess.start("--links");
  });
  after(() => cluster[Symbol.asyncDispose]());

  test("deleting one tag leaves the others of the same digest (harbor#3959, #4256)", async () => {
    const image = makeImage(500);
    for (const tag of ["a", "b", "c"]) await at("eu").push("same/digest", tag, image);
    await everywhere("same/digest", "c", 200);
    await remove("us", "same/digest", "b");
    await everywhere("same/digest", "b", 404);
    for (const site of SITES) for (const tag of ["a", "c"]) await at(site).pull("same/digest", tag);
  });

  test("deleting a tag deletes it at the other sites, also at one that was away (harbor#21218)", async () => {
    await at("eu").push("tag/delete", "v1", makeImage(500));
    await everywhere("tag/delete", "v1", 200);
    await meridian("site", "kill", "ap");
    await remove("eu", "tag/delete", "v1");
    await meridian("site", "start", "ap");
    await everywhere("tag/delete", "v1", 404);
  });

  test("deleting a repository deletes it at the site that replicates with this one (harbor#14812)", async () => {
    const images = [makeImage(500), makeImage(500)];
    await at("eu").push("repository/delete", "v1", images[0]!);
    await at("us").push("repository/delete", "v2", images[1]!);
    for (const tag of ["v1", "v2"]) await everywhere("repository/delete", tag, 200);
    await meridian("repo", "delete", "repository/delete", "--server", cluster.gateway("us"));
    for (const [index, image] of images.entries()) {
      await everywhere("repository/delete", `v${index + 1}`, 404);
      await everywhere("repository/delete", image.digest, 404);
    }
  });

  test("what a retention rule deletes by digest goes everywhere, with all its tags (harbor#10342)", async () => {
    const [old, kept] = [makeImage(500), makeImage(500)];
    for (const tag of ["old", "older"]) await at("eu").push("retention/app", tag, old);
    await at("ap").push("retention/app", "kept", kept);
    for (const tag of ["old", "older", "kept"]) await everywhere("retention/app", tag, 200);
    await remove("us", "retention/app", old.digest);
    for (const reference of ["old", "older", old.digest]) await everywhere("retention/app", reference, 404);
    for (const site of SITES) await at(site).pull("retention/app", "kept");
  });

  test("of pushes at once to one new tag each that was answered 201 took effect, and the tag names one of them (harbor#23118)", async () => {
    const images = Array.from({ length: 8 }, () => makeImage(300));
    for (const image of images)
      for (const blob of [image.config, ...image.layers])
        for (const site of SITES) await at(site).pushBlob("race/app", blob);
    const answers = await Promise.all(
      images.map((image, index) =>
        at(SITES[index % 3]!).call("/v2/race/app/manifests/v1", {
          method: "PUT",
          headers: { "content-type": MANIFEST_TYPE },
          body: image.manifest,
        }),
      ),
    );
    assert.deepEqual(new Set(answers.map((answer) => answer.status)), new Set([201]));
    const histories = await until("the history has all of them at every site", async () => {
      const all = [];
      for (const site of SITES) {
        const answer = await at(site).call("/v2/race/app/_meridian/tags/v1/history");
        const { history } = JSON.parse(answer.body.toString()) as { history: Write[] };
        if (history.length !== images.length) return false;
        all.push(history);
      }
      return all;
    });
    const wanted = images.map(({ digest }) => digest).toSorted();
    for (const history of histories) {
      assert.deepEqual(history, histories[0]);
      assert.deepEqual(history.map(({ digest }) => digest).toSorted(), wanted);
    }
    for (const site of SITES) assert.equal((await at(site).pull("race/app", "v1")).digest, histories[0]![0]!.digest);
  });

  test("a removed image is not brought back by a site that was cut off and still has it (zot#3557)", async () => {
    const image = makeImage(2_000);
    await at("us").push("revived/app", "v1", image);
    await everywhere("revived/app", "v1", 200);
    await meridian("link", "cut", "eu-ap");
    await meridian("link", "cut", "us-ap");
    await remove("eu", "revived/app", image.digest);
    await until("us has deleted it", async () => (await status("us", "revived/app", "v1")) === 404);
    await at("ap").pull("revived/app", "v1");
    await meridian("link", "heal", "eu-ap");
    await meridian("link", "heal", "us-ap");
    for (const reference of ["v1", image.digest]) await everywhere("revived/app", reference, 404);
    // What ap writes from now on must carry nothing of it to the others either.
    await at("ap").push("revived/app", "v2", makeImage(500));
    await everywhere("revived/app", "v2", 200);
    for (const reference of ["v1", image.digest]) await everywhere("revived/app", reference, 404);
  });

  test("a site that says it has an image by its tag serves it by that tag at once (harbor#14245)", async () => {
    for (let round = 0; round < 5; round += 1) {
      await at("eu").push("event/app", `v${round}`, makeImage(500));
      const path = `/v2/event/app/_meridian/replication/v${round}?wait=us,ap&timeout=30s`;
      const receipt = await at("eu").call(path, { timeoutMs: 40_000 });
      assert.equal(receipt.status, 200, receipt.body.toString());
      for (const site of ["us", "ap"]) await at(site).pull("event/app", `v${round}`);
    }
  });
});

describe("two gateways over one store", { skip: needs("nats-server") }, () => {
  test("lose no tag when both push at once, to one repository and to one tag (zot PR#4337)", async () => {
    await using cluster = await DevProcess.start("--nats", "--sites", "eu", "--gateways", "2");
    const options = { ca: cluster.ca, password: cluster.adminPassword };
    const second = new URL(cluster.gateway("eu"));
    second.port = String(Number(second.port) + 100);
    using one = new OciClient(cluster.gateway("eu"), options);
    using other = new OciClient(second.origin, options);
    const images = Array.from({ length: 12 }, () => makeImage(300));
    await Promise.all(
      images.flatMap((image, index) => [
        one.push("shared/app", `one-${index}`, image),
        other.push("shared/app", `other-${index}`, image),
        (index % 2 === 0 ? one : other).push("shared/app", "both", image),
      ]),
    );
    for (const client of [one, other]) {
      const tags = JSON.parse((await client.call("/v2/shared/app/tags/list")).body.toString()) as { tags: string[] };
      assert.equal(tags.tags.length, 2 * images.length + 1);
      for (const [index, { digest }] of images.entries())
        for (const tag of [`one-${index}`, `other-${index}`])
          assert.equal((await client.pull("shared/app", tag)).digest, digest, tag);
      const history = await until("every push is in the history", async () => {
        const answer = await client.call("/v2/shared/app/_meridian/tags/both/history");
        const { history: writes } = JSON.parse(answer.body.toString()) as { history: Write[] };
        return new Set(writes.map(({ digest }) => digest)).size === images.length && writes;
      });
      assert.deepEqual(
        history.flatMap(({ lostTo }) => lostTo ?? []),
        [],
        "a site's writers see each other",
      );
      assert.equal((await client.pull("shared/app", "both")).digest, history[0]?.digest);
    }
  });
});
