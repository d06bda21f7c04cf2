import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { globSync } from "node:fs";
import { connect } from "node:http2";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { DevProcess } from "./harness/dev-process.ts";
import { digestOf, MANIFEST_TYPE, makeImage } from "./harness/oci-client.ts";
import { bearerChallenge, type RawAnswer, RawHttp, type RawRequest } from "./harness/raw-http.ts";
import { RawSocket } from "./harness/raw-socket.ts";
import { until } from "./harness/until.ts";

const OCTETS = "application/octet-stream";

describe("uploads that break off, lie or come twice", () => {
  let cluster: DevProcess;
  let http: RawHttp;
  let token: string;

  const ask = (method: string, path: string, request: RawRequest = {}): Promise<RawAnswer> =>
    http.ask(method, path, { ...request, headers: { authorization: `Bearer ${token}`, ...request.headers } });
  const begin = async (): Promise<string> => {
    const answer = await ask("POST", "/v2/bad/up/blobs/uploads/");
    assert.equal(answer.status, 202, answer.body.toString());
    return String(answer.headers.location);
  };
  const chunk = (location: string, body: Buffer, start?: number): Promise<RawAnswer> =>
    ask("PATCH", location, {
      body,
      headers: {
        "content-type": OCTETS,
        ...(start === undefined ? {} : { "content-range": `${start}-${start + body.length - 1}` }),
      },
    });
  const commit = (location: string, digest: string, body?: Buffer): Promise<RawAnswer> =>
    ask("PUT", `${location}?digest=${digest}`, { body, headers: { "content-type": OCTETS } });
  const isAbsent = async (digest: string): Promise<void> => {
    assert.equal((await ask("HEAD", `/v2/bad/up/blobs/${digest}`)).status, 404);
    assert.equal((await ask("GET", `/v2/bad/up/blobs/${digest}`)).status, 404);
    assert.deepEqual(globSync(join(cluster.home, `sites/*/site/blobs/blobs/*/*/${digest.slice(7)}`)), []);
  };
  /** Where an upload stands. */
  const offsetOf = async (location: string): Promise<number> => {
    const answer = await ask("GET", location);
    assert.equal(answer.status, 204, answer.body.toString());
    return Number(/^0-(\d+)$/.exec(String(answer.headers.range))?.[1]) + 1;
  };
  /** Sends the head of a request and some bytes of its body on a connection of its own. */
  const part = async (method: string, path: string, length: number, bytes: Buffer, more = ""): Promise<RawSocket> => {
    const socket = await RawSocket.open(cluster.gateway("eu"), cluster.ca);
    await socket.send(
      `${method} ${path} HTTP/1.1\r\nHost: ${new URL(cluster.gateway("eu")).host}\r\nAuthorization: Bearer ${token}\r\n` +
        `Content-Type: ${OCTETS}\r\nContent-Length: ${length}\r\n${more}\r\n`,
    );
    await socket.send(bytes);
    return socket;
  };

  before(async () => {
    cluster = await DevProcess.start("--sites", "eu");
    http = new RawHttp(cluster.gateway("eu"), cluster.ca);
    const { realm, service } = bearerChallenge(await http.ask("GET", "/v2/bad/up/tags/list"));
    const scope = "repository:bad/up:pull,push,delete repository:bad/other:pull,push";
    token = await cluster.at("eu").token(`Bearer realm="${realm}",service="${service}",scope="${scope}"`);
  });
  after(async () => {
    http[Symbol.dispose]();
    await cluster[Symbol.asyncDispose]();
  });

  test("bytes that do not hash to the digest are refused, and neither name is there", async () => {
    const bytes = randomBytes(300_000);
    const other = digestOf(randomBytes(8));
    for (const send of [
      async () => commit(await begin(), other, bytes),
      () =>
        ask("POST", `/v2/bad/up/blobs/uploads/?digest=${other}`, { body: bytes, headers: { "content-type": OCTETS } }),
      async () => {
        const location = await begin();
        assert.equal((await chunk(location, bytes)).status, 202);
        return commit(location, other);
      },
    ]) {
      const answer = await send();
      assert.equal(answer.status, 400, answer.body.toString());
      assert.equal(answer.error?.code, "DIGEST_INVALID");
      await isAbsent(other);
      await isAbsent(digestOf(bytes));
    }
  });

  test("a chunk whose connection breaks is gone on with where the upload says; nothing is visible before the commit", async () => {
    const bytes = randomBytes(3_000_000);
    const digest = digestOf(bytes);
    const location = await begin();
    assert.equal((await chunk(location, bytes.subarray(0, 1_000_000), 0)).status, 202);
    const broken = await part("PATCH", location, 2_000_000, bytes.subarray(1_000_000, 1_700_000));
    broken[Symbol.dispose]();
    const offset = await until("the break is noticed", async () => {
      const at = await offsetOf(location);
      return at >= 1_000_000 && at <= 1_700_000 ? at : false;
    });
    await isAbsent(digest);
    const rest = await chunk(location, bytes.subarray(offset), offset);
    assert.equal(rest.status, 202, rest.body.toString());
    assert.equal((await commit(location, digest)).status, 201);
    assert.deepEqual((await ask("GET", `/v2/bad/up/blobs/${digest}`)).body, bytes);
  });

  test("a retry without Content-Range starts at the last acknowledged offset", async () => {
    const bytes = randomBytes(2_000_000);
    const location = await begin();
    assert.equal((await chunk(location, bytes.subarray(0, 500_000))).status, 202);
    const broken = await part("PATCH", location, 1_500_000, bytes.subarray(500_000, 900_000));
    // The retry comes while the first may still be running: it fences it.
    const again = await chunk(location, bytes.subarray(500_000));
    assert.equal(again.status, 202, again.body.toString());
    broken[Symbol.dispose]();
    assert.equal((await commit(location, digestOf(bytes))).status, 201);
  });

  test("a last body that breaks off commits nothing, and can be sent again", async () => {
    const bytes = randomBytes(1_000_000);
    const digest = digestOf(bytes);
    const location = await begin();
    const broken = await part("PUT", `${location}?digest=${digest}`, bytes.length, bytes.subarray(0, 700_000));
    broken[Symbol.dispose]();
    await isAbsent(digest);
    const answer = await commit(location, digest, bytes);
    assert.equal(answer.status, 201, answer.body.toString());
    assert.equal((await commit(location, digest, bytes)).status, 201, "a repeated commit");
  });

  test("a chunk that comes twice or leaves a hole is 416 and says where the upload is", async () => {
    const bytes = randomBytes(600_000);
    const location = await begin();
    assert.equal((await chunk(location, bytes.subarray(0, 200_000), 0)).status, 202);
    for (const [start, end] of [
      [0, 200_000],
      [100_000, 300_000],
      [300_000, 400_000],
    ]) {
      const answer = await chunk(location, bytes.subarray(start, end), start);
      assert.equal(answer.status, 416, `chunk ${start}-${end}: ${answer.body}`);
      assert.equal(answer.headers.range, "0-199999");
      assert.equal(answer.headers.location, location);
    }
    for (const range of ["5-2", "x", "bytes */600000"]) {
      const headers = { "content-type": OCTETS, "content-range": range };
      const answer = await ask("PATCH", location, { body: bytes.subarray(200_000), headers });
      assert.equal(answer.status, 400, `Content-Range ${range}: ${answer.status} ${answer.body}`);
    }
    assert.equal((await chunk(location, bytes.subarray(200_000), 200_000)).status, 202);
    assert.equal((await commit(location, digestOf(bytes))).status, 201);
  });

  test("sessions that are forged, of another repository, cancelled or committed are unknown", async () => {
    const location = await begin();
    const session = location.slice(location.lastIndexOf("/") + 1);
    const middle = Math.floor(session.length / 2);
    const forged = session.slice(0, middle) + (session[middle] === "A" ? "B" : "A") + session.slice(middle + 1);
    for (const path of [
      `/v2/bad/up/blobs/uploads/${forged}`,
      `/v2/bad/other/blobs/uploads/${session}`,
      `/v2/bad/up/blobs/uploads/${"A".repeat(session.length)}`,
      `/v2/bad/up/blobs/uploads/${"..".repeat(20)}`,
    ]) {
      for (const method of ["GET", "PATCH", "PUT", "DELETE"]) {
        const query = method === "PUT" ? `?digest=${digestOf(Buffer.alloc(0))}` : "";
        const answer = await ask(method, path + query, method === "PATCH" ? { body: "x" } : {});
        assert.equal(answer.status, 404, `${method} ${path}: ${answer.body}`);
        if (method !== "HEAD") assert.equal(answer.error?.code, "BLOB_UPLOAD_UNKNOWN");
      }
    }
    assert.equal((await ask("DELETE", location)).status, 204);
    assert.equal((await ask("GET", location)).status, 404);
    assert.equal((await chunk(location, Buffer.from("x"))).status, 404);
  });

  for (const [what, method, path, status] of [
    ["a manifest that is too large", "PUT", "/v2/bad/up/manifests/big", 413],
    ["an unknown session", "PATCH", "/v2/bad/up/blobs/uploads/nothing", 404],
    ["a missing digest", "PUT", "", 400],
    ["a repository that the token does not name", "PUT", "/v2/bad/elsewhere/manifests/x", 401],
  ] as const) {
    test(`${what} is told while the body is still being sent, on a connection that stays open`, async () => {
      const length = 30_000_000;
      const target = path === "" ? await begin() : path;
      using socket = await part(method, target, length, randomBytes(100_000));
      const early = await socket.answer(10_000);
      assert.equal(early.status, status, early.body);
      assert.match(early.body, /"code":"[A-Z_]+"/);
      // A client that never looks before it has sent everything must be able to.
      for (let sent = 100_000; sent < length; sent += 1_000_000) {
        await socket.send(Buffer.alloc(Math.min(1_000_000, length - sent)));
        assert.equal(socket.closed, undefined, `closed after ${sent} bytes`);
      }
      await socket.send(`GET /livez HTTP/1.1\r\nHost: x\r\n\r\n`);
      assert.equal((await socket.answer()).status, 200, "the next request on the same connection");
    });
  }

  test("who expects 100 Continue is refused without sending a body", async () => {
    using socket = await part(
      "PUT",
      "/v2/bad/up/manifests/big",
      30_000_000,
      Buffer.alloc(0),
      "Expect: 100-continue\r\n",
    );
    assert.equal((await socket.answer()).status, 413);
  });

  test("over HTTP/2 an early error arrives whole, and a hundred broken streams hurt nobody", async () => {
    const session = connect(cluster.gateway("eu"), { ca: cluster.ca });
    session.on("error", () => undefined);
    const headers = { authorization: `Bearer ${token}`, "content-type": MANIFEST_TYPE, ":method": "PUT" };
    const stream = session.request({ ...headers, ":path": "/v2/bad/up/manifests/big", "content-length": 30_000_000 });
    stream.on("error", () => undefined);
    stream.write(Buffer.alloc(1_000_000));
    const [answered] = (await once(stream, "response")) as [Record<string, unknown>];
    assert.equal(answered[":status"], 413);
    let text = "";
    for await (const bytes of stream) text += bytes;
    assert.match(text, /SIZE_INVALID/);
    const location = await begin();
    for (let i = 0; i < 100; i++) {
      const one = session.request({ ...headers, ":path": location, ":method": "PATCH" });
      one.on("error", () => undefined);
      one.write(randomBytes(1_000));
      one.close(8);
    }
    const image = makeImage(10_000);
    await cluster.at("eu").push("bad/up", "v1", image);
    assert.equal((await cluster.at("eu").pull("bad/up", "v1")).digest, image.digest);
    session.destroy();
  });
});
