import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { MINIO_CREDENTIALS, Minio } from "@meridian/storage/minio";
import { Client } from "minio";
import { DevProcess } from "./harness/dev-process.ts";
import { digestOf, makeImage } from "./harness/oci-client.ts";
import { needs } from "./harness/programs.ts";
import { until } from "./harness/until.ts";

/** How long signed URLs live: long enough for the reads of a test, and soon over. */
const LINK_MS = 5_000;

describe("a site whose blobs are in a bucket", { skip: needs("minio") }, () => {
  const image = makeImage(12_000_000, 300_000);
  const [large, small] = image.layers as [Buffer, Buffer];
  const resources = new AsyncDisposableStack();
  let minio: Minio;
  let cluster: DevProcess;

  before(async () => {
    process.env.AWS_ACCESS_KEY_ID = MINIO_CREDENTIALS.accessKeyId;
    process.env.AWS_SECRET_ACCESS_KEY = MINIO_CREDENTIALS.secretAccessKey;
    minio = resources.use(await Minio.start());
    const overlay = join(tmpdir(), `meridian-s3-${process.pid}.yaml`);
    resources.defer(() => rmSync(overlay, { force: true }));
    writeFileSync(overlay, `storage: { s3: { redirect: true } }\ngateway: { maxStalenessMs: ${LINK_MS} }\n`);
    const url = minio.endpoint.replace("127.0.0.1", "localhost");
    cluster = resources.use(await DevProcess.start("--sites", "1", "--s3", url, "--config", overlay));
  });
  after(() => resources.disposeAsync());

  const keys = async (): Promise<string[]> => {
    const { hostname: endPoint, port } = new URL(minio.endpoint);
    const { accessKeyId: accessKey, secretAccessKey: secretKey } = MINIO_CREDENTIALS;
    const client = new Client({ endPoint, port: Number(port), useSSL: false, accessKey, secretKey });
    const listed = await Array.fromAsync(client.listObjectsV2("meridian-eu", "", true));
    return listed.map(({ name }) => String(name));
  };

  test("a pushed image is in the bucket, each blob under its digest and nothing besides", async () => {
    await cluster.at("eu").push("s3/app", "v1", image);
    const expected = [image.config, image.manifest, ...image.layers].map((blob) => {
      const hex = digestOf(blob).slice(7);
      return `blobs/sha256/${hex.slice(0, 2)}/${hex}`;
    });
    await until("the bucket holds the image alone", async () => {
      const there = (await keys()).filter((key) => !key.startsWith("probe/"));
      return JSON.stringify(there.sort()) === JSON.stringify([...expected, "format"].sort());
    });
  });

  test("a large blob is answered by a signed URL, a small one and every HEAD by the gateway", async () => {
    const at = cluster.at("eu");
    const answer = await at.call(`/v2/s3/app/blobs/${digestOf(large)}`);
    assert.equal(answer.status, 307);
    assert.equal(answer.headers["meridian-route"], "redirect");
    assert.equal(answer.headers["cache-control"], "no-store");
    const url = new URL(String(answer.headers.location));
    assert.equal(url.searchParams.get("X-Amz-Expires"), String(LINK_MS / 1000));
    // As a client in Go does on the way to another name: without its token, with its range.
    const read = await fetch(url, { headers: { range: "bytes=5-" } });
    assert.equal(read.status, 206);
    assert.deepEqual(Buffer.from(await read.arrayBuffer()), large.subarray(5));
    // It holds for further ranges, and then no longer.
    for (const start of [0, 7_000_000]) {
      const again = await fetch(url, { headers: { range: `bytes=${start}-${start + 9}` } });
      assert.deepEqual(Buffer.from(await again.arrayBuffer()), large.subarray(start, start + 10));
    }
    await until(
      "the URL is refused",
      async () => (await fetch(url, { headers: { range: "bytes=0-0" } })).status === 403,
    );
    const head = await at.call(`/v2/s3/app/blobs/${digestOf(large)}`, { method: "HEAD" });
    assert.equal(head.status, 200);
    const direct = await at.call(`/v2/s3/app/blobs/${digestOf(small)}`);
    assert.deepEqual([direct.status, direct.digest], [200, digestOf(small)]);
  });

  test("says that the bucket's service is away, and serves and takes images when it is back", async () => {
    const { admin } = cluster.run.sites[0]!;
    const ready = async (): Promise<string> => (await fetch(`${admin}/readyz`)).text();
    await minio.kill();
    await until("the readiness names it", async () =>
      /bucket \\"meridian-eu\\" at http:\/\/localhost:\d+ \(ECONNREFUSED\): the endpoint does not answer/.test(
        await ready(),
      ),
    );
    await minio.start();
    await until("it is ready again", async () => (await fetch(`${admin}/readyz`)).status === 200);
    await cluster.at("eu").push("s3/app", "v2", makeImage(9_000_000));
    assert.equal((await cluster.at("eu").call(`/v2/s3/app/blobs/${digestOf(small)}`)).status, 200);
  });
});
