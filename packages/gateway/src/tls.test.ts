import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { type ClientHttp2Session, connect as connectHttp2, type IncomingHttpHeaders } from "node:http2";
import { get } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { digestOf } from "@meridian/oci";
import { ensureDevPki } from "@meridian/pki";
import { createSystemClock, type TlsMaterial } from "@meridian/runtime";
import { bearer, startTestCluster, type TestCluster } from "./test-cluster.fixture.ts";

const directory = mkdtempSync(join(tmpdir(), "meridian-edge-"));
let cluster: TestCluster;
let ca: string;
let session: ClientHttp2Session;

before(async () => {
  const options = { dir: directory, trustDomain: "test-cluster", sites: [{ name: "eu", processes: [] }] };
  const made = await ensureDevPki({ ...options, clock: createSystemClock() });
  const { key, cert } = made.sites.eu!.edge;
  const material: TlsMaterial = {
    key: readFileSync(key, "utf8"),
    cert: readFileSync(cert, "utf8"),
    ca: readFileSync(made.ca, "utf8"),
  };
  ca = material.ca;
  const tls = { current: () => material, subscribe: () => ({ [Symbol.dispose]: () => undefined }) };
  cluster = await startTestCluster({ tls });
  session = connectHttp2(cluster.site.gateway.url, { ca, settings: { initialWindowSize: 8 * 1024 * 1024 } });
  await once(session, "connect");
});
after(async () => {
  session.close();
  await cluster[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true, force: true });
});

async function ask(
  method: string,
  path: string,
  body?: Buffer,
  headers: Record<string, string> = bearer("admin", "team/app:pull,push"),
) {
  const stream = session.request({ ":method": method, ":path": path, ...headers }, { endStream: body === undefined });
  const answered = once(stream, "response") as Promise<[IncomingHttpHeaders]>;
  if (body !== undefined) stream.end(body);
  const [answer] = await answered;
  const chunks: Buffer[] = [];
  for await (const chunk of stream) chunks.push(chunk as Buffer);
  return { status: answer[":status"], headers: answer, body: Buffer.concat(chunks) };
}

describe("over TLS", () => {
  test("HTTP/1.1 clients are served", async () => {
    const [answer] = await once(get(`${cluster.site.gateway.url}/v2/`, { ca, agent: false }), "response");
    answer.resume();
    assert.equal(answer.statusCode, 401);
    assert.match(answer.headers["www-authenticate"], /realm="https:\/\/127\.0\.0\.1:\d+\/token"/);
  });

  test("HTTP/2 clients push and pull", async () => {
    const content = randomBytes(2_000_000);
    const digest = digestOf(content);
    const pushed = await ask("POST", `/v2/team/app/blobs/uploads/?digest=${digest}`, content);
    assert.equal(pushed.status, 201);
    const pulled = await ask("GET", `/v2/team/app/blobs/${digest}`);
    assert.equal(pulled.status, 200);
    assert.equal(digestOf(pulled.body), digest);
  });

  test("HTTP/2 gives ranges, HEAD and errors the same", async () => {
    const content = randomBytes(1000);
    const path = `/v2/team/app/blobs/${digestOf(content)}`;
    await ask("POST", `/v2/team/app/blobs/uploads/?digest=${digestOf(content)}`, content);
    assert.deepEqual(
      (await ask("GET", path, undefined, { ...bearer("admin", "team/app:pull"), range: "bytes=-5" })).body,
      content.subarray(995),
    );
    const head = await ask("HEAD", path);
    assert.deepEqual([head.status, head.headers["content-length"], head.body.length], [200, "1000", 0]);
    assert.equal((await ask("GET", "/v2/", undefined, {})).status, 401);
  });

  test("an early error on an HTTP/2 body leaves the connection usable", async () => {
    const refused = await ask("PUT", "/v2/team/app/manifests/v1", randomBytes(1_000_000), {});
    assert.equal(refused.status, 401);
    assert.equal((await ask("GET", "/livez")).status, 200);
  });
});
