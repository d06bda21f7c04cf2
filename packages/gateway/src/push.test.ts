import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { Agent } from "node:http";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";
import { ContentError, type Digest, digestOf } from "@meridian/oci";
import { adminOf, ask } from "./http-client.fixture.ts";
import { bearer, startTestCluster, type TestCluster } from "./test-cluster.fixture.ts";

let cluster: TestCluster;
const repository = "team/app";
const admin = () => adminOf(cluster.site, repository);

before(async () => {
  cluster = await startTestCluster({ config: { discardMs: 2_000, bodyIdleMs: 2_000 } });
});
after(() => cluster[Symbol.asyncDispose]());

/** Starts a session; its path inside the repository. */
async function begin(query = ""): Promise<string> {
  const begun = await admin().call("POST", `/blobs/uploads/${query}`);
  assert.equal(begun.status, 202);
  const location = String(begun.headers.location);
  assert.ok(location.startsWith(`/v2/${repository}/blobs/uploads/`), location);
  return location.slice(`/v2/${repository}`.length);
}

const patch = (session: string, body: Buffer, headers?: Record<string, string>) =>
  admin().call("PATCH", session, { body, headers });
const put = (session: string, digest: string, body?: Buffer, headers?: Record<string, string>) =>
  admin().call("PUT", `${session}?digest=${digest}`, { body, headers });

describe("pushing a blob", () => {
  test("in one POST", async () => {
    const content = randomBytes(3000);
    const digest = digestOf(content);
    const pushed = await admin().call("POST", `/blobs/uploads/?digest=${digest}`, { body: content });
    assert.equal(pushed.status, 201);
    assert.equal(pushed.headers.location, `/v2/${repository}/blobs/${digest}`);
    assert.equal(pushed.headers["docker-content-digest"], digest);
    assert.equal(pushed.headers["meridian-copies"], "1");
    assert.equal(pushed.headers["meridian-version"], cluster.site.catalog.version());
    assert.deepEqual((await admin().get(`/blobs/${digest}`)).body, content);
  });

  test("by POST and PUT", async () => {
    const content = randomBytes(3000);
    const digest = digestOf(content);
    assert.equal((await put(await begin(), digest, content)).status, 201);
    assert.deepEqual((await admin().get(`/blobs/${digest}`)).body, content);
  });

  test("of no bytes", async () => {
    const empty = digestOf("");
    assert.equal((await put(await begin(), empty)).status, 201);
    assert.equal((await admin().head(`/blobs/${empty}`)).headers["content-length"], "0");
  });

  test("of sha512", async () => {
    const content = randomBytes(100);
    const digest = digestOf(content, "sha512");
    assert.equal((await put(await begin("?digest-algorithm=sha512"), digest, content)).status, 201);
    assert.deepEqual((await admin().get(`/blobs/${digest}`)).body, content);
  });

  test("tells an empty session as 0-0", async () => {
    const begun = await admin().call("POST", "/blobs/uploads/");
    assert.equal(begun.headers.range, "0-0");
    assert.ok(begun.headers["docker-upload-uuid"]);
  });

  test("in chunks tells the offset after each", async () => {
    const content = randomBytes(300);
    const session = await begin();
    const first = await patch(session, content.subarray(0, 100), { "content-range": "0-99" });
    assert.deepEqual([first.status, first.headers.range], [202, "0-99"]);
    const second = await patch(session, content.subarray(100, 200), { "content-range": "100-199" });
    assert.equal(second.headers.range, "0-199");
    const status = await admin().get(session);
    assert.deepEqual([status.status, status.headers.range], [204, "0-199"]);
    const last = await put(session, digestOf(content), content.subarray(200), { "content-range": "200-299" });
    assert.equal(last.status, 201);
    assert.deepEqual((await admin().get(`/blobs/${digestOf(content)}`)).body, content);
  });

  test("a chunk out of order is 416 and tells where the upload stands", async () => {
    const session = await begin();
    await patch(session, randomBytes(100), { "content-range": "0-99" });
    const answer = await patch(session, randomBytes(50), { "content-range": "200-249" });
    assert.equal(answer.status, 416);
    assert.equal(answer.headers.range, "0-99");
    assert.ok(String(answer.headers.location).endsWith(session));
  });

  test("a replayed chunk is 416 and changes nothing", async () => {
    const session = await begin();
    const chunk = randomBytes(100);
    await patch(session, chunk, { "content-range": "0-99" });
    assert.equal((await patch(session, chunk, { "content-range": "0-99" })).status, 416);
    assert.equal((await put(session, digestOf(chunk))).status, 201);
  });

  test("a chunk whose range and length disagree is SIZE_INVALID", async () => {
    const answer = await patch(await begin(), randomBytes(10), { "content-range": "0-99" });
    assert.deepEqual([answer.status, answer.code], [400, "SIZE_INVALID"]);
  });

  test("a malformed Content-Range is BLOB_UPLOAD_INVALID", async () => {
    const answer = await patch(await begin(), randomBytes(10), { "content-range": "9-0" });
    assert.equal(answer.code, "BLOB_UPLOAD_INVALID");
  });

  test("other bytes than the digest says is DIGEST_INVALID, and nothing is visible", async () => {
    const wrong = digestOf("something else");
    const answer = await put(await begin(), wrong, randomBytes(100));
    assert.deepEqual([answer.status, answer.code], [400, "DIGEST_INVALID"]);
    assert.equal((await admin().head(`/blobs/${wrong}`)).status, 404);
  });

  for (const digest of ["", "sha256:abc", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:XYZ"]) {
    test(`the digest "${digest}" is DIGEST_INVALID`, async () => {
      const answer = await put(await begin(), digest, Buffer.from("x"));
      assert.deepEqual([answer.status, answer.code], [400, "DIGEST_INVALID"]);
    });
  }

  test("a commit that is repeated is 201", async () => {
    const content = randomBytes(100);
    const session = await begin();
    const digest = digestOf(content);
    assert.equal((await put(session, digest, content)).status, 201);
    assert.equal((await put(session, digest, content)).status, 201);
  });

  test("a session that was cancelled is unknown", async () => {
    const session = await begin();
    assert.equal((await admin().delete(session)).status, 204);
    const gone = await admin().get(session);
    assert.deepEqual([gone.status, gone.code], [404, "BLOB_UPLOAD_UNKNOWN"]);
  });

  test("a cancelled session does not link what is stored for others", async () => {
    const content = randomBytes(100);
    const digest = await adminOf(cluster.site, "team/secret").pushBlob(content);
    const session = await begin();
    await admin().delete(session);
    assert.equal((await put(session, digest)).code, "BLOB_UPLOAD_UNKNOWN");
    assert.equal((await admin().get(`/blobs/${digest}`)).code, "BLOB_UNKNOWN");
  });

  test("cancelling needs push, not delete", async () => {
    const session = await begin();
    cluster.site.grants.set("pusher", new Set(["pull", "push"]));
    const headers = bearer("pusher", `${repository}:pull,push`);
    const answer = await ask(cluster.site.gateway.url, "DELETE", `/v2/${repository}${session}`, { headers });
    assert.equal(answer.status, 204);
  });

  test("a session of another repository is unknown", async () => {
    const session = await begin();
    assert.equal((await adminOf(cluster.site, "team/other").get(session)).code, "BLOB_UPLOAD_UNKNOWN");
  });

  test("a forged session is unknown", async () => {
    const session = await begin();
    const forged = `${session.slice(0, -2)}${session.endsWith("AA") ? "BB" : "AA"}`;
    assert.equal((await admin().get(forged)).code, "BLOB_UPLOAD_UNKNOWN");
  });

  test("a full disk is told with the site and what to do", async () => {
    const session = await begin();
    const { bytes } = cluster.site.nodes[0]!;
    const append = bytes.append;
    bytes.append = async () => Promise.reject(new ContentError("no-space", "disk full"));
    const answer = await patch(session, randomBytes(10));
    bytes.append = append;
    assert.deepEqual([answer.status, answer.code], [507, "INSUFFICIENT_STORAGE"]);
    assert.match(answer.body.toString(), /site eu/);
  });

  test("a body that stalls ends, and what came before is kept", async () => {
    const session = await begin();
    const { port } = new URL(cluster.site.gateway.url);
    const socket = connect({ host: "127.0.0.1", port: Number(port) });
    const headers = `Host: x\r\nAuthorization: ${bearer("admin", `${repository}:push`).authorization}\r\nContent-Length: 100`;
    socket.write(`PATCH /v2/${repository}${session} HTTP/1.1\r\n${headers}\r\n\r\n0123456789`);
    const [answer] = (await once(socket, "data")) as [Buffer];
    socket.destroy();
    assert.match(answer.toString(), /^HTTP\/1\.1 408 /);
    assert.equal((await admin().get(session)).headers.range, "0-9");
  });

  test("a body that breaks off leaves nothing visible, and the session can go on", async () => {
    const content = randomBytes(100);
    const session = await begin();
    const { port } = new URL(cluster.site.gateway.url);
    const socket = connect({ host: "127.0.0.1", port: Number(port) });
    const headers = `Host: x\r\nAuthorization: ${bearer("admin", `${repository}:push`).authorization}\r\nContent-Length: 100`;
    const request = `PUT /v2/${repository}${session}?digest=${digestOf(content)} HTTP/1.1\r\n${headers}\r\n\r\n`;
    socket.write(Buffer.concat([Buffer.from(request), content.subarray(0, 40)]));
    await until(
      async () => (await admin().get(session)).headers.range === "0-39",
      () => socket.destroy(),
    );
    assert.equal((await admin().head(`/blobs/${digestOf(content)}`)).status, 404);
    assert.equal(
      (await put(session, digestOf(content), content.subarray(40), { "content-range": "40-99" })).status,
      201,
    );
  });
});

async function until(condition: () => Promise<boolean>, meanwhile: () => void): Promise<void> {
  const deadline = Date.now() + 5_000;
  while (!(await condition())) {
    meanwhile();
    assert.ok(Date.now() < deadline, "not within 5 s");
  }
}

describe("mounting a blob", () => {
  test("of a repository that may be read links it", async () => {
    const digest = await adminOf(cluster.site, "team/base").pushBlob(randomBytes(100));
    const headers = bearer("admin", "team/base:pull", "team/mounted:pull,push");
    const path = `/v2/team/mounted/blobs/uploads/?mount=${digest}&from=team/base`;
    const mounted = await ask(cluster.site.gateway.url, "POST", path, { headers });
    assert.equal(mounted.status, 201);
    assert.equal(mounted.headers.location, `/v2/team/mounted/blobs/${digest}`);
    assert.equal((await adminOf(cluster.site, "team/mounted").get(`/blobs/${digest}`)).status, 200);
  });

  test("that is not there begins an upload", async () => {
    const headers = bearer("admin", "team/base:pull", `${repository}:pull,push`);
    const path = `/v2/${repository}/blobs/uploads/?mount=${digestOf("none")}&from=team/base`;
    assert.equal((await ask(cluster.site.gateway.url, "POST", path, { headers })).status, 202);
  });

  test("without a source finds what the repository has", async () => {
    const digest = await admin().pushBlob(randomBytes(100));
    assert.equal((await admin().call("POST", `/blobs/uploads/?mount=${digest}`)).status, 201);
  });

  test("without a source finds what another repository has that the client may read", async () => {
    const content = randomBytes(100);
    const digest = await adminOf(cluster.site, "team/other").pushBlob(content);
    const mounted = await admin().call("POST", `/blobs/uploads/?mount=${digest}`);
    assert.equal(mounted.status, 201);
    assert.deepEqual((await admin().get(`/blobs/${digest}`)).body, content);
  });

  test("without a source never finds what the policy hides from the client", async () => {
    const digest = await adminOf(cluster.site, "team/hidden").pushBlob(randomBytes(100));
    cluster.site.grants.set("eve", new Set(["eve/app:push", "eve/app:pull"]));
    const headers = bearer("eve", "eve/app:pull,push", "team/hidden:pull");
    const path = `/v2/eve/app/blobs/uploads/?mount=${digest}`;
    assert.equal((await ask(cluster.site.gateway.url, "POST", path, { headers })).status, 202);
  });

  test("without the source's scope asks for both scopes", async () => {
    const path = `/blobs/uploads/?mount=${digestOf("x")}&from=team/base`;
    const answer = await admin().call("POST", path);
    assert.equal(answer.status, 401);
    const challenge = String(answer.headers["www-authenticate"]);
    assert.match(challenge, /error="insufficient_scope"/);
    assert.match(challenge, /scope="repository:team\/app:pull,push repository:team\/base:pull"/);
  });

  test("of what the policy hides begins an upload", async () => {
    const digest = await adminOf(cluster.site, "team/hidden").pushBlob(randomBytes(100));
    cluster.site.grants.set("bob", new Set(["bob/app:push", "bob/app:pull"]));
    const headers = bearer("bob", "bob/app:pull,push", "team/hidden:pull");
    const path = `/v2/bob/app/blobs/uploads/?mount=${digest}&from=team/hidden`;
    assert.equal((await ask(cluster.site.gateway.url, "POST", path, { headers })).status, 202);
  });
});

describe("an early error on a body", () => {
  test("leaves the connection usable", async () => {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const body = randomBytes(3 * 1024 * 1024);
    const refused = await ask(cluster.site.gateway.url, "PUT", `/v2/${repository}/manifests/v1`, { body, agent });
    assert.equal(refused.status, 401);
    assert.notEqual(refused.headers.connection, "close");
    const next = await ask(cluster.site.gateway.url, "GET", "/livez", { agent });
    assert.equal(next.status, 200);
    agent.destroy();
  });

  test("in its middle leaves the connection usable", async () => {
    const session = await begin();
    const { bytes } = cluster.site.nodes[0]!;
    const append = bytes.append;
    bytes.append = async (_id, body) => {
      const reading = body[Symbol.asyncIterator]();
      await reading.next();
      // Waits for more, as a node does whose disk fails meanwhile.
      void reading.next();
      throw new ContentError("no-space", "disk full");
    };
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const headers = bearer("admin", `${repository}:push`);
    const path = `/v2/${repository}${session}`;
    const refused = await ask(cluster.site.gateway.url, "PATCH", path, {
      body: randomBytes(5_000_000),
      headers,
      agent,
    });
    bytes.append = append;
    assert.equal(refused.status, 507);
    assert.equal((await ask(cluster.site.gateway.url, "GET", "/livez", { agent })).status, 200);
    agent.destroy();
  });

  test("closes the connection when the client goes on sending nothing", async () => {
    const { port } = new URL(cluster.site.gateway.url);
    const socket = connect({ host: "127.0.0.1", port: Number(port) });
    socket.write(`PUT /v2/${repository}/manifests/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n`);
    const [answer] = (await once(socket, "data")) as [Buffer];
    assert.match(answer.toString(), /^HTTP\/1\.1 401 /);
    socket.resume();
    await once(socket, "close");
  });

  test("comes before 100 Continue", async () => {
    const { port } = new URL(cluster.site.gateway.url);
    const socket = connect({ host: "127.0.0.1", port: Number(port) });
    socket.write(
      `PUT /v2/${repository}/manifests/v1 HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n`,
    );
    const [answer] = (await once(socket, "data")) as [Buffer];
    socket.destroy();
    assert.match(answer.toString(), /^HTTP\/1\.1 401 /);
  });
});

test("a client that waits for 100 Continue gets it", async () => {
  const content = randomBytes(64);
  const digest: Digest = `sha256:${createHash("sha256").update(content).digest("hex")}` as Digest;
  const { port } = new URL(cluster.site.gateway.url);
  const socket = connect({ host: "127.0.0.1", port: Number(port) });
  const headers = `Host: x\r\nAuthorization: ${bearer("admin", `${repository}:push`).authorization}\r\nExpect: 100-continue\r\nContent-Length: 64`;
  socket.write(`POST /v2/${repository}/blobs/uploads/?digest=${digest} HTTP/1.1\r\n${headers}\r\n\r\n`);
  const [first] = (await once(socket, "data")) as [Buffer];
  assert.match(first.toString(), /^HTTP\/1\.1 100 /);
  socket.write(content);
  const [second] = (await once(socket, "data")) as [Buffer];
  socket.destroy();
  assert.match(second.toString(), /^HTTP\/1\.1 201 /);
});
