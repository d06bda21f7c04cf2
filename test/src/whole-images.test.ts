import assert from "node:assert/strict";
import { globSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { DevProcess } from "./harness/dev-process.ts";
import { digestOf, MANIFEST_TYPE, makeImage } from "./harness/oci-client.ts";
import { command, complete, meridian } from "./harness/site-control.ts";
import { until } from "./harness/until.ts";

const INDEX_TYPE = "application/vnd.oci.image.index.v1+json";
const EMPTY = Buffer.from("{}");

interface Document {
  readonly mediaType: string;
  readonly [field: string]: unknown;
}

describe("images arrive whole, in whatever order their parts do", () => {
  let cluster: DevProcess;

  before(async () => {
    cluster = await DevProcess.start("--links");
  });
  after(() => cluster[Symbol.asyncDispose]());

  test("a signature that comes before its subject is listed at once, at every site, and on nothing else", async () => {
    const [image, other] = [makeImage(20_000), makeImage(20_000)];
    await cluster.at("eu").push("whole/early", "other", other);
    const signature = await sign("us", "whole/early", image.digest, image.manifest.length);
    for (const site of ["eu", "us", "ap"]) {
      const seen = async (): Promise<boolean> =>
        (await referrers(site, "whole/early", image.digest)).includes(signature);
      await until(`${site} lists it`, seen, 5_000);
      assert.equal((await cluster.at(site).call(`/v2/whole/early/manifests/${signature}`)).status, 200);
      assert.deepEqual(await referrers(site, "whole/early", other.digest), []);
    }
    await until("its bytes are everywhere", async () => ["eu", "us", "ap"].every((site) => holds(site, signature)));
    await cluster.at("ap").push("whole/early", "v1", image);
    await complete(cluster, "ap", "whole/early", "v1");
    for (const site of ["eu", "us", "ap"])
      assert.deepEqual(await referrers(site, "whole/early", image.digest), [signature]);
  });

  test("children of an index keep their own signatures, which move with it, also when it was pushed while a site was cut off", async () => {
    for (const pair of ["eu-us", "us-ap"])
      await command(cluster, { command: "link-cut", pair, oneWay: false, reset: true });
    const children = [makeImage(30_000), makeImage(40_000)];
    const signatures: string[] = [];
    for (const child of children) {
      await pushByDigest("eu", "whole/index", child);
      signatures.push(await sign("eu", "whole/index", child.digest, child.manifest.length));
    }
    const manifests = children.map(({ digest, manifest }) => ({
      mediaType: MANIFEST_TYPE,
      digest,
      size: manifest.length,
    }));
    const index = await put("eu", "whole/index", "v1", { schemaVersion: 2, mediaType: INDEX_TYPE, manifests });
    const ofIndex = await sign("eu", "whole/index", index, indexSize(manifests), INDEX_TYPE);
    for (const pair of ["eu-us", "us-ap"]) await command(cluster, { command: "link-heal", pair, oneWay: false });
    await complete(cluster, "eu", "whole/index", "v1");
    const all = [...signatures, ofIndex];
    await until("the signatures' bytes are at us", async () => all.every((digest) => holds("us", digest)));
    for (const site of ["eu", "us", "ap"]) {
      for (const [i, child] of children.entries())
        assert.deepEqual(await referrers(site, "whole/index", child.digest), [signatures[i]], `${site}, child ${i}`);
      assert.deepEqual(await referrers(site, "whole/index", index), [ofIndex], site);
    }
  });

  test("layers that may not be distributed are left alone: nobody waits for them", async () => {
    const image = makeImage(10_000);
    const document = JSON.parse(image.manifest.toString()) as Document & { layers: object[] };
    const foreign = {
      mediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar",
      digest: digestOf(Buffer.from("kept by somebody else")),
      size: 21,
      urls: ["https://example.com/layer"],
    };
    for (const blob of [image.config, ...image.layers]) await cluster.at("eu").pushBlob("whole/foreign", blob);
    const digest = await put("eu", "whole/foreign", "v1", { ...document, layers: [foreign, ...document.layers] });
    await complete(cluster, "eu", "whole/foreign", "v1");
    for (const site of ["us", "ap"]) {
      assert.ok(holds(site, digest));
      assert.ok(!holds(site, foreign.digest));
    }
    const { sites } = JSON.parse(await meridian(cluster, "replication", "whole/foreign", "--json")) as {
      sites: ReadonlyArray<{ state: string; homeless: number }>;
    };
    assert.ok(
      sites.every(({ state, homeless }) => state === "complete" && homeless === 0),
      JSON.stringify(sites),
    );
  });

  test("what is tagged moves before a backlog, and is whole while that still waits", async () => {
    for (const pair of ["eu-us", "us-ap"])
      await command(cluster, { command: "link-cut", pair, oneWay: false, reset: true });
    const backlog = Array.from({ length: 12 }, () => makeImage(3_000_000));
    for (const [i, image] of backlog.entries()) await cluster.at("eu").push("whole/backlog", `v${i}`, image);
    for (const pair of ["eu-us", "us-ap"]) {
      await command(cluster, { command: "link-limit", pair, bytesPerSecond: 2_000_000 });
      await command(cluster, { command: "link-heal", pair, oneWay: false });
    }
    await until(
      "us knows the backlog",
      async () => (await cluster.at("us").call("/v2/whole/backlog/tags/list")).body.toString().includes("v11"),
      30_000,
    );
    const wanted = backlog[11]!;
    assert.equal((await cluster.at("us").pull("whole/backlog", "v11")).digest, wanted.digest);
    await until("it is stored", async () => holds("us", digestOf(wanted.layers[0]!)));
    const waiting = backlog.filter(({ layers }) => !holds("us", digestOf(layers[0]!)));
    assert.ok(waiting.length >= 3, `only ${waiting.length} of the backlog waited`);
    for (const pair of ["eu-us", "us-ap"]) await command(cluster, { command: "link-limit", pair });
    await until(
      "all of it is here",
      async () => backlog.every(({ layers }) => holds("us", digestOf(layers[0]!))),
      60_000,
    );
  });

  async function referrers(site: string, repository: string, subject: string): Promise<string[]> {
    const answer = await cluster.at(site).call(`/v2/${repository}/referrers/${subject}`);
    assert.equal(answer.status, 200);
    const { manifests } = JSON.parse(answer.body.toString()) as { manifests: ReadonlyArray<{ digest: string }> };
    return manifests.map(({ digest }) => digest);
  }

  /** Pushes an artifact whose subject is that digest; its own digest. */
  async function sign(
    site: string,
    repository: string,
    digest: string,
    size: number,
    mediaType = MANIFEST_TYPE,
  ): Promise<string> {
    const payload = Buffer.from(`signature of ${digest}`);
    for (const blob of [payload, EMPTY]) await cluster.at(site).pushBlob(repository, blob);
    return put(site, repository, undefined, {
      schemaVersion: 2,
      mediaType: MANIFEST_TYPE,
      artifactType: "application/vnd.example.signature",
      config: { mediaType: "application/vnd.oci.empty.v1+json", digest: digestOf(EMPTY), size: EMPTY.length },
      layers: [{ mediaType: "application/octet-stream", digest: digestOf(payload), size: payload.length }],
      subject: { mediaType, digest, size },
    });
  }

  async function pushByDigest(site: string, repository: string, image: ReturnType<typeof makeImage>): Promise<void> {
    for (const blob of [image.config, ...image.layers]) await cluster.at(site).pushBlob(repository, blob);
    await send(site, repository, image.digest, MANIFEST_TYPE, image.manifest);
  }

  async function put(site: string, repository: string, tag: string | undefined, document: Document): Promise<string> {
    const body = Buffer.from(JSON.stringify(document));
    await send(site, repository, tag ?? digestOf(body), document.mediaType, body);
    return digestOf(body);
  }

  async function send(site: string, repository: string, reference: string, type: string, body: Buffer): Promise<void> {
    const path = `/v2/${repository}/manifests/${reference}`;
    const answer = await cluster.at(site).call(path, { method: "PUT", headers: { "content-type": type }, body });
    assert.equal(answer.status, 201, answer.body.toString());
  }

  function holds(site: string, digest: string): boolean {
    return globSync(join(cluster.home, `sites/${site}/site/blobs/blobs/sha256/*/${digest.slice(7)}`)).length === 1;
  }
});

function indexSize(manifests: readonly object[]): number {
  return Buffer.byteLength(JSON.stringify({ schemaVersion: 2, mediaType: INDEX_TYPE, manifests }));
}
