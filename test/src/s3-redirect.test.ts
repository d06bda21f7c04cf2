import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { MINIO_CREDENTIALS, Minio } from "@meridian/storage/minio";
import { DevProcess } from "./harness/dev-process.ts";
import { digestOf, makeImage } from "./harness/oci-client.ts";
import { needs } from "./harness/programs.ts";

describe("a gateway whose site's buckets belong to blob nodes of other processes", {
  skip: needs("minio", "nats-server"),
}, () => {
  const image = makeImage(6_000_000, 300_000);
  const [large, small] = image.layers as [Buffer, Buffer];
  const path = (blob: Buffer): string => `/v2/s3/app/blobs/${digestOf(blob)}`;
  const resources = new AsyncDisposableStack();
  let cluster: DevProcess;

  before(async () => {
    process.env.AWS_ACCESS_KEY_ID = MINIO_CREDENTIALS.accessKeyId;
    process.env.AWS_SECRET_ACCESS_KEY = MINIO_CREDENTIALS.secretAccessKey;
    const minio = resources.use(await Minio.start());
    const url = minio.endpoint.replace("127.0.0.1", "localhost");
    const overlay = join(tmpdir(), `meridian-s3-redirect-${process.pid}.yaml`);
    resources.defer(() => rmSync(overlay, { force: true }));
    // Whole, as processes without a bucket read it too.
    const s3 = `{ endpoint: "${url}", bucket: meridian-eu, createBucket: true, redirect: true }`;
    writeFileSync(overlay, `storage: { s3: ${s3} }\n`);
    const nodes = ["--nats", "--blob-nodes", "2"];
    cluster = resources.use(await DevProcess.start("--sites", "1", ...nodes, "--s3", url, "--config", overlay));
    await cluster.at("eu").push("s3/app", "v1", image);
  });
  after(() => resources.disposeAsync());

  test("sends clients to the bucket of the node that it would have read from", async () => {
    const answer = await cluster.at("eu").call(path(large));
    assert.equal(answer.status, 307);
    assert.equal(answer.headers["meridian-route"], "redirect");
    const node = /^eu\/(blob-node-[12])$/.exec(String(answer.headers["meridian-served-by"]))?.[1];
    assert.ok(node, String(answer.headers["meridian-served-by"]));
    const url = new URL(String(answer.headers.location));
    assert.ok(url.pathname.startsWith(`/meridian-eu/${node}/`), url.pathname);
    const whole = await fetch(url);
    assert.deepEqual(Buffer.from(await whole.arrayBuffer()), large);
  });

  test("answers ranges alike, and leaves them to the client", async () => {
    const answer = await cluster.at("eu").call(path(large), { headers: { range: "bytes=5-14" } });
    assert.equal(answer.status, 307);
    const part = await fetch(String(answer.headers.location), { headers: { range: "bytes=5-14" } });
    assert.equal(part.status, 206);
    assert.deepEqual(Buffer.from(await part.arrayBuffer()), large.subarray(5, 15));
  });

  test("passes on what is small, every HEAD, and whatever a client calls by the bucket's own name", async () => {
    const at = cluster.at("eu");
    assert.equal((await at.call(path(small))).digest, digestOf(small));
    assert.equal((await at.call(path(large), { method: "HEAD" })).status, 200);
    const { port } = new URL(cluster.gateway("eu"));
    const named = await at.call(path(large), { headers: { host: `localhost:${port}` } });
    assert.deepEqual([named.status, named.digest], [200, digestOf(large)]);
  });
});
