import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { request } from "node:https";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { DevProcess } from "./harness/dev-process.ts";
import { digestOf, MANIFEST_TYPE, makeImage, type TestImage } from "./harness/oci-client.ts";
import { complete, meridian } from "./harness/site-control.ts";
import { until } from "./harness/until.ts";

describe("repositories that say which sites keep their bytes", () => {
  let cluster: DevProcess;

  before(async () => {
    cluster = await DevProcess.start("--links");
    await meridian(cluster, "repo", "set", "kept", "placement=us:never");
    await meridian(cluster, "repo", "set", "lazy", "placement=us:lazy");
    const shows = async (site: string, value: string, name: string): Promise<boolean> => {
      const answer = await cluster.at(site).call(`/v2/${name}/app/_meridian/settings`);
      return answer.status === 403 || answer.body.toString().includes(value);
    };
    for (const site of ["eu", "us", "ap"]) {
      await until(
        `${site} knows what is set`,
        async () => (await shows(site, "us:never", "kept")) && (await shows(site, "us:lazy", "lazy")),
      );
    }
  });
  after(() => cluster[Symbol.asyncDispose]());

  test("a site that one is kept from refuses it, and not a byte of it, of its signature or of an index around it touches its disk", async () => {
    const eu = cluster.at("eu");
    const image = makeImage(700_000, 9_000_000);
    await eu.push("kept/app", "v1", image);
    const signature = await refer("kept/app", image);
    const index = await indexOf("kept/app", image);
    await complete(cluster, "eu", "kept/app", "v1", ["eu", "ap"]);
    await complete(cluster, "eu", "kept/app", index, ["eu", "ap"]);
    // What is pushed later and may be there has come: what could have come before has.
    const free = makeImage(1_000_000);
    await eu.push("free/app", "v1", free);
    await complete(cluster, "eu", "free/app", "v1");
    const us = cluster.at("us");
    for (const [method, path] of [
      ["GET", "/v2/kept/app/manifests/v1"],
      ["HEAD", `/v2/kept/app/manifests/${image.digest}`],
      ["GET", `/v2/kept/app/manifests/${index}`],
      ["GET", `/v2/kept/app/blobs/${digestOf(image.layers[0]!)}`],
      ["GET", `/v2/kept/app/referrers/${image.digest}`],
      ["GET", "/v2/kept/app/tags/list"],
      ["POST", "/v2/kept/app/blobs/uploads/"],
      ["PUT", "/v2/kept/app/manifests/v2"],
    ] as const) {
      const answer = await us.call(path, { method, ...(method === "PUT" && { body: image.manifest }) });
      assert.equal(answer.status, 403, `${method} ${path}`);
    }
    // A mount at the site itself finds nothing, with and without a source.
    const layer = digestOf(image.layers[0]!);
    for (const from of ["&from=kept/app", ""]) {
      const mount = await us.call(`/v2/free/app/blobs/uploads/?mount=${layer}${from}`, { method: "POST" });
      assert.equal(mount.status, 202, `mount ${from}`);
    }
    assert.equal((await us.call(`/v2/free/app/blobs/${layer}`)).status, 404);
    for (const digest of [...digestsOf(image), signature, index]) {
      assert.deepEqual(stored("us", digest), [], `us has ${digest}`);
      assert.equal(stored("ap", digest).length, 1, `ap lacks ${digest}`);
    }
    assert.deepEqual(partials("us"), []);
  });

  test("the nodes of other sites give such bytes to no process of that site, and to others they do", async () => {
    const image = makeImage(50_000);
    await cluster.at("eu").push("kept/bytes", "v1", image);
    await complete(cluster, "eu", "kept/bytes", "v1", ["eu", "ap"]);
    const free = makeImage(50_000);
    await cluster.at("eu").push("free/bytes", "v1", free);
    await complete(cluster, "eu", "free/bytes", "v1");
    for (const digest of digestsOf(image)) {
      for (const range of [undefined, "bytes=0-99"]) {
        assert.equal(await askNode("us", "eu", digest, range), 403, "eu gave it to us");
        assert.equal(await askNode("us", "ap", digest, range), 403, "ap gave it to us");
        assert.ok([200, 206].includes(await askNode("ap", "eu", digest, range)), "eu did not give it to ap");
      }
    }
    assert.equal(await askNode("us", "eu", digestsOf(free)[0]!), 200);
    // A node fetches only for its own site: no other can make it take something.
    const layer = digestOf(image.layers[0]!);
    assert.equal(await askNode("eu", "us", layer, undefined, { "meridian-holders": "eu/site,ap/site" }), 404);
    assert.deepEqual(stored("us", layer), []);
  });

  test("a lazy site gets what is pulled there, with its signature, and nothing else", async () => {
    const [pulled, other] = [makeImage(300_000, 2_000_000), makeImage(300_000)];
    const eu = cluster.at("eu");
    await eu.push("lazy/app", "v1", pulled);
    await eu.push("lazy/app", "v2", other);
    const signature = await refer("lazy/app", pulled);
    await complete(cluster, "eu", "lazy/app", "v1", ["eu", "ap"]);
    await complete(cluster, "eu", "lazy/app", "v2", ["eu", "ap"]);
    const us = cluster.at("us");
    await until("us knows it", async () => (await us.call("/v2/lazy/app/tags/list")).body.toString().includes("v2"));
    for (const digest of [...digestsOf(pulled), ...digestsOf(other), signature])
      assert.deepEqual(stored("us", digest), []);
    // The manifest alone: that somebody wants the image is known from it.
    const answer = await us.call("/v2/lazy/app/manifests/v1", { headers: { accept: MANIFEST_TYPE } });
    assert.equal(answer.status, 200);
    const wanted = [...digestsOf(pulled), signature];
    await until("us has the image and its signature", async () =>
      wanted.every((digest) => stored("us", digest).length === 1),
    );
    for (const digest of digestsOf(other)) assert.deepEqual(stored("us", digest), []);
  });

  test("what is kept from a site later is removed there once others have it", async () => {
    const image = makeImage(100_000);
    await cluster.at("us").push("later/app", "v1", image);
    await complete(cluster, "us", "later/app", "v1");
    assert.equal(stored("us", image.digest).length, 1);
    await meridian(cluster, "repo", "set", "later", "placement=us:never");
    await until(
      "us has none of it",
      async () => digestsOf(image).every((digest) => stored("us", digest).length === 0),
      60_000,
    );
    assert.equal((await cluster.at("us").call("/v2/later/app/manifests/v1")).status, 403);
    assert.equal((await cluster.at("eu").pull("later/app", "v1")).digest, image.digest);
  });

  test("meridian replication says what each site has still to fetch", async () => {
    const { sites } = JSON.parse(await meridian(cluster, "replication", "--json")) as {
      sites: ReadonlyArray<{ name: string; state: string; links: ReadonlyArray<{ from: string; blobs: number }> }>;
    };
    assert.deepEqual(sites.map(({ name }) => name).toSorted(), ["ap", "eu", "us"]);
    assert.deepEqual(
      sites.flatMap(({ links }) => links.map(({ blobs }) => blobs)),
      Array(6).fill(0),
    );
    assert.match(await meridian(cluster, "replication", "free/app", "--site", "us"), /us +complete +(eu|ap)/);
  });

  /** Pushes an artifact whose subject is the image; its digest. */
  async function refer(repository: string, image: TestImage): Promise<string> {
    const payload = Buffer.from(`signature of ${image.digest}`);
    await cluster.at("eu").pushBlob(repository, payload);
    await cluster.at("eu").pushBlob(repository, Buffer.from("{}"));
    return put(repository, {
      schemaVersion: 2,
      mediaType: MANIFEST_TYPE,
      artifactType: "application/vnd.example.signature",
      config: { mediaType: "application/vnd.oci.empty.v1+json", digest: digestOf(Buffer.from("{}")), size: 2 },
      layers: [{ mediaType: "application/octet-stream", digest: digestOf(payload), size: payload.length }],
      subject: { mediaType: MANIFEST_TYPE, digest: image.digest, size: image.manifest.length },
    });
  }

  async function indexOf(repository: string, image: TestImage): Promise<string> {
    const mediaType = "application/vnd.oci.image.index.v1+json";
    const child = { mediaType: MANIFEST_TYPE, digest: image.digest, size: image.manifest.length };
    return put(repository, { schemaVersion: 2, mediaType, manifests: [child] });
  }

  async function put(repository: string, document: { mediaType: string; [field: string]: unknown }): Promise<string> {
    const body = Buffer.from(JSON.stringify(document));
    const digest = digestOf(body);
    const path = `/v2/${repository}/manifests/${digest}`;
    const headers = { "content-type": document.mediaType };
    const answer = await cluster.at("eu").call(path, { method: "PUT", headers, body });
    assert.equal(answer.status, 201, answer.body.toString());
    return digest;
  }

  /** Files of a site's disk that are a blob. */
  function stored(site: string, digest: string): string[] {
    return globSync(join(cluster.home, `sites/${site}/site/blobs/blobs/sha256/*/${digest.slice(7)}`));
  }

  /** Files of a site's disk that belong to fetches under way. */
  function partials(site: string): string[] {
    return globSync(join(cluster.home, `sites/${site}/site/blobs/**/fetch-*`));
  }

  /** The status that a site's node answers to a process of another site with. */
  function askNode(
    from: string,
    to: string,
    digest: string,
    range?: string,
    more: Record<string, string> = {},
  ): Promise<number> {
    const config = readFileSync(join(cluster.home, `sites/${to}/site.yaml`), "utf8");
    const port = Number(/bytesPort: (\d+)/.exec(config)?.[1]);
    const pki = join(cluster.home, "pki");
    return new Promise((resolve, reject) => {
      const headers = { "meridian-protocol": "1", ...(range !== undefined && { range }), ...more };
      const asking = request(
        {
          ...{ host: "127.0.0.1", port, path: `/v1/blobs/${digest}`, headers, agent: false },
          ca: readFileSync(join(pki, "ca.pem")),
          key: readFileSync(join(pki, from, "site.key")),
          cert: readFileSync(join(pki, from, "site.pem")),
          checkServerIdentity: () => undefined,
        },
        (answer) => {
          answer.resume();
          resolve(answer.statusCode ?? 0);
        },
      );
      asking.on("error", reject).end();
    });
  }
});

function digestsOf({ manifest, config, layers }: TestImage): string[] {
  return [manifest, config, ...layers].map(digestOf);
}
