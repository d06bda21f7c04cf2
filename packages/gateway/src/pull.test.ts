import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { digestOf, MediaType } from "@meridian/oci";
import { adminOf } from "./http-client.fixture.ts";
import { startTestCluster, type TestCluster } from "./test-cluster.fixture.ts";

let cluster: TestCluster;
let image: Awaited<ReturnType<ReturnType<typeof adminOf>["pushImage"]>>;
const layer = randomBytes(1000);
const admin = () => adminOf(cluster.site, "team/app");

before(async () => {
  cluster = await startTestCluster();
  image = await admin().pushImage("v1", layer);
});
after(() => cluster[Symbol.asyncDispose]());

describe("pulling a manifest", () => {
  test("by tag gives the stored bytes and their name", async () => {
    const answer = await admin().get("/manifests/v1");
    assert.equal(answer.status, 200);
    assert.deepEqual(answer.body, image.manifest);
    assert.equal(answer.headers["docker-content-digest"], image.digest);
    assert.equal(answer.headers["content-type"], MediaType.ociManifest);
    assert.equal(answer.headers.etag, `"${image.digest}"`);
    assert.equal(answer.headers["docker-distribution-api-version"], "registry/2.0");
    assert.match(String(answer.headers["cache-control"]), /no-cache.*no-transform/);
  });

  test("says who served it, why, and which state it shows", async () => {
    const { headers } = await admin().get("/manifests/v1");
    assert.equal(headers["meridian-site"], "eu");
    assert.match(String(headers["meridian-served-by"]), /^eu\//);
    assert.ok(headers["meridian-route"]);
    assert.equal(headers["meridian-version"], cluster.site.catalog.version());
  });

  test("by digest may be kept for ever", async () => {
    const answer = await admin().get(`/manifests/${image.digest}`);
    assert.deepEqual(answer.body, image.manifest);
    assert.match(String(answer.headers["cache-control"]), /private.*immutable/);
  });

  test("by HEAD gives the same headers and no body", async () => {
    const head = await admin().head("/manifests/v1");
    assert.equal(head.status, 200);
    assert.equal(head.headers["content-length"], String(image.manifest.length));
    assert.equal(head.headers["docker-content-digest"], image.digest);
    assert.equal(head.body.length, 0);
  });

  test("that the client has already is 304", async () => {
    const answer = await admin().get("/manifests/v1", { "if-none-match": `"${image.digest}"` });
    assert.equal(answer.status, 304);
    assert.equal(answer.body.length, 0);
  });

  test("is never content-coded", async () => {
    const answer = await admin().get("/manifests/v1", { "accept-encoding": "zstd, gzip" });
    assert.equal(answer.headers["content-encoding"], undefined);
  });

  const misses: ReadonlyArray<readonly [string, string, number, string]> = [
    ["an unknown tag", "/manifests/nope", 404, "MANIFEST_UNKNOWN"],
    ["an unknown digest", `/manifests/${digestOf("x")}`, 404, "MANIFEST_UNKNOWN"],
    ["a bad digest", "/manifests/sha256:abc", 400, "DIGEST_INVALID"],
    ["a blob's digest", "/blobs/sha256:zz", 400, "DIGEST_INVALID"],
    ["an unknown blob", `/blobs/${digestOf("y")}`, 404, "BLOB_UNKNOWN"],
  ];
  for (const [name, path, status, code] of misses) {
    test(`by ${name} is ${status} ${code}`, async () => {
      const answer = await admin().get(path);
      assert.equal(answer.status, status);
      assert.equal(answer.code, code);
      assert.match(String(answer.headers["cache-control"]), /no-store/);
    });
  }

  test("of a repository that does not exist is NAME_UNKNOWN", async () => {
    const answer = await adminOf(cluster.site, "no/such").get("/manifests/v1");
    assert.deepEqual([answer.status, answer.code], [404, "NAME_UNKNOWN"]);
  });

  test("of a malformed name is NAME_INVALID", async () => {
    const answer = await adminOf(cluster.site, "Team/App").get("/manifests/v1");
    assert.deepEqual([answer.status, answer.code], [400, "NAME_INVALID"]);
  });
});

describe("pulling a blob", () => {
  const path = () => `/blobs/${image.layer}`;

  test("gives the bytes, their name and where they are from", async () => {
    const answer = await admin().get(path());
    assert.equal(answer.status, 200);
    assert.deepEqual(answer.body, layer);
    assert.equal(answer.headers["docker-content-digest"], image.layer);
    assert.equal(answer.headers["accept-ranges"], "bytes");
    assert.equal(answer.headers["meridian-served-by"], "eu/blob-node-1");
    assert.equal(answer.headers["meridian-route"], "local");
  });

  test("from a node's memory gives the same", async () => {
    cluster.site.nodes[0]!.inMemory = true;
    const answer = await admin().get(path(), { range: "bytes=10-19" });
    cluster.site.nodes[0]!.inMemory = false;
    assert.equal(answer.status, 206);
    assert.deepEqual(answer.body, layer.subarray(10, 20));
  });

  test("from the memory of the gateway's own process gives the same, whatever else is asked with it", async () => {
    const whole = await admin().get(path());
    cluster.site.nodes[0]!.inMemory = true;
    const sent = cluster.site.nodes[0]!.sent;
    const kept = await admin().get(path());
    const fresh = await admin().get(path(), { "if-none-match": `"${image.layer}"` });
    const stranger = await admin().get(path().replace(/.$/, (last) => (last === "0" ? "1" : "0")));
    cluster.site.nodes[0]!.inMemory = false;
    assert.equal(kept.status, 200);
    assert.deepEqual(kept.body, layer);
    const { date: _, ...headers } = kept.headers;
    const { date: __, ...expected } = whole.headers;
    assert.deepEqual(headers, { ...expected, "meridian-served-by": "eu/gateway-1" });
    assert.equal(cluster.site.nodes[0]!.sent, sent);
    assert.deepEqual([fresh.status, stranger.status], [304, 404]);
  });

  test("by HEAD tells the size", async () => {
    const head = await admin().head(path());
    assert.equal(head.status, 200);
    assert.equal(head.headers["content-length"], "1000");
    assert.equal(head.headers["docker-content-digest"], image.layer);
  });

  const ranges: ReadonlyArray<readonly [string, number, number]> = [
    ["bytes=0-0", 0, 1],
    ["bytes=10-", 10, 1000],
    ["bytes=990-2000", 990, 1000],
    ["bytes=-10", 990, 1000],
    ["bytes=-5000", 0, 1000],
  ];
  for (const [range, start, end] of ranges) {
    test(`${range} is bytes ${start} to ${end}`, async () => {
      const answer = await admin().get(path(), { range });
      assert.equal(answer.status, 206);
      assert.equal(answer.headers["content-range"], `bytes ${start}-${end - 1}/1000`);
      assert.deepEqual(answer.body, layer.subarray(start, end));
    });
  }

  for (const range of ["bytes=1000-", "bytes=5-2", "bytes=x-y", "bytes=-0"]) {
    test(`${range} cannot be satisfied`, async () => {
      const answer = await admin().get(path(), { range });
      assert.equal(answer.status, 416);
      assert.equal(answer.headers["content-range"], "bytes */1000");
    });
  }

  test("more than 512 ranges are refused", async () => {
    const range = `bytes=${Array.from({ length: 513 }, (_, i) => `${i}-${i}`).join(",")}`;
    assert.equal((await admin().get(path(), { range })).status, 400);
  });

  test("several ranges come as parts, in the order asked for", async () => {
    const answer = await admin().get(path(), { range: "bytes=5-6,0-1,-2" });
    assert.equal(answer.status, 206);
    const boundary = /boundary=(.+)$/.exec(String(answer.headers["content-type"]))![1]!;
    const parts = answer.body.toString("latin1").split(`--${boundary}`).slice(1, -1);
    assert.deepEqual(
      parts.map((part) => /Content-Range: (.+)\r/.exec(part)![1]),
      ["bytes 5-6/1000", "bytes 0-1/1000", "bytes 998-999/1000"],
    );
    assert.deepEqual(
      parts.map((part) => Buffer.from(part.slice(part.indexOf("\r\n\r\n") + 4, -2), "latin1")),
      [layer.subarray(5, 7), layer.subarray(0, 2), layer.subarray(998, 1000)],
    );
    assert.equal(Number(answer.headers["content-length"]), answer.body.length);
  });

  test("If-Range that names something else gives the whole", async () => {
    const answer = await admin().get(path(), { range: "bytes=0-0", "if-range": '"other"' });
    assert.equal(answer.status, 200);
    assert.equal(answer.body.length, 1000);
  });

  test("of another repository is unknown, although the bytes are here", async () => {
    const answer = await adminOf(cluster.site, "team/other").get(path());
    assert.equal(answer.code, "BLOB_UNKNOWN");
  });
});

describe("paths and methods", () => {
  test("a method that is not possible is 405 and names those that are", async () => {
    const answer = await admin().call("POST", "/manifests/v1");
    assert.equal(answer.status, 405);
    assert.equal(answer.headers.allow, "GET, HEAD, PUT, DELETE");
  });

  test("an unknown path is 404", async () => {
    assert.equal((await admin().get("/nothing/here")).status, 404);
  });

  test("containerd's ns parameter changes nothing", async () => {
    assert.equal((await admin().get("/manifests/v1?ns=test-cluster")).status, 200);
  });
});
