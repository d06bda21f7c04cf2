import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { DevProcess } from "./harness/dev-process.ts";
import { digestOf, MANIFEST_TYPE, makeImage } from "./harness/oci-client.ts";
import { bearerChallenge, type RawAnswer, RawHttp, type RawRequest } from "./harness/raw-http.ts";
import { RawSocket } from "./harness/raw-socket.ts";

describe("requests that no good client sends", () => {
  const image = makeImage(400_000);
  const layer = image.layers[0] ?? Buffer.alloc(0);
  const good = JSON.parse(image.manifest.toString()) as { config: object; layers: object[] };
  let cluster: DevProcess;
  let http: RawHttp;
  let token: string;
  let pid: number;

  const ask = (method: string, path: string, request: RawRequest = {}): Promise<RawAnswer> =>
    http.ask(method, path, { ...request, headers: { authorization: `Bearer ${token}`, ...request.headers } });
  const put = (reference: string, body: Buffer | string, type = MANIFEST_TYPE): Promise<RawAnswer> =>
    ask("PUT", `/v2/bad/app/manifests/${reference}`, { body, headers: { "content-type": type } });
  const refused = (answer: RawAnswer, status: number, code: string, what: string): void => {
    assert.equal(answer.status, status, `${what}: ${answer.body}`);
    assert.equal(answer.error?.code, code, what);
    assert.ok((answer.error?.message ?? "").length > 5, `${what} is refused without a word`);
  };

  before(async () => {
    cluster = await DevProcess.start("--sites", "eu");
    http = new RawHttp(cluster.gateway("eu"), cluster.ca);
    const { realm, service } = bearerChallenge(await http.ask("GET", "/v2/bad/app/tags/list"));
    const scope = "repository:bad/app:pull,push,delete registry:catalog:*";
    token = await cluster.at("eu").token(`Bearer realm="${realm}",service="${service}",scope="${scope}"`);
    await cluster.at("eu").push("bad/app", "v1", image);
    pid = cluster.pid("eu", "site");
  });
  after(async () => {
    http[Symbol.dispose]();
    await cluster[Symbol.asyncDispose]();
  });

  test("names that lead elsewhere or break the grammar name nothing", async () => {
    const names = ["Upper/Case", "a//b", "a/", "-a", "a%00b", "%C3%BC", "a%20b", "_catalog", "x".repeat(256)];
    for (const name of names) {
      refused(await ask("GET", `/v2/${name}/manifests/v1`), 400, "NAME_INVALID", name);
      refused(await ask("POST", `/v2/${name}/blobs/uploads/`), 400, "NAME_INVALID", name);
    }
    // A connection of our own: URL parsers resolve the dots.
    using socket = await RawSocket.open(cluster.gateway("eu"), cluster.ca);
    for (const path of [
      "/v2/../../etc/passwd",
      "/v2/../manifests/v1",
      "/v2/a/../../../etc/manifests/v1",
      "/v2/a/%2e%2e/manifests/v1",
      "/v2/a%2Fb/manifests/v1",
      "/v2/a%2f..%2fb/blobs/uploads/",
      "/v2/bad/app/blobs/sha256:..%2f..%2fx",
      "/v2/bad/app/blobs/uploads/..%2f..%2fx",
      "/v2/bad%zz/manifests/v1",
      `/v2/${"a/".repeat(6_000)}manifests/v1`,
    ]) {
      await socket.send(`GET ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\n\r\n`);
      const answer = await socket.answer();
      assert.match(`${answer.status}`, /^40[04]$/, `${path}: ${answer.body}`);
      assert.match(answer.body, /NAME_INVALID|NAME_UNKNOWN|DIGEST_INVALID|BLOB_UPLOAD_UNKNOWN/, path);
    }
  });

  test("references and digests that are none are refused", async () => {
    for (const tag of [".hidden", "x".repeat(129), "v1%00", "a%20b"]) {
      refused(await put(tag, image.manifest), 400, "NAME_INVALID", tag);
      refused(await ask("GET", `/v2/bad/app/manifests/${tag}`), 404, "MANIFEST_UNKNOWN", tag);
    }
    for (const digest of ["sha256:abc", `sha256:${"Z".repeat(64)}`, `md5:${"a".repeat(32)}`, "v1@sha256:x"]) {
      refused(await put(digest, image.manifest), 400, "DIGEST_INVALID", digest);
      refused(await ask("GET", `/v2/bad/app/blobs/${digest}`), 400, "DIGEST_INVALID", digest);
      refused(await ask("GET", `/v2/bad/app/referrers/${digest}`), 400, "DIGEST_INVALID", digest);
      refused(await ask("POST", `/v2/bad/app/blobs/uploads/?mount=${digest}`), 400, "DIGEST_INVALID", digest);
    }
  });

  test("manifests that are none are refused with what is wrong, and leave no tag", async () => {
    const json = (change: object): string => JSON.stringify({ ...good, ...change });
    const bad: Record<string, string | Buffer> = {
      "no JSON": "{",
      empty: "",
      "an array": "[]",
      null: "null",
      "deep arrays": "[".repeat(300_000),
      "deep objects": `${'{"a":'.repeat(100_000)}1${"}".repeat(100_000)}`,
      "no layers": JSON.stringify({ schemaVersion: 2, mediaType: MANIFEST_TYPE, config: good.config }),
      "a negative size": json({ layers: [{ ...good.layers[0], size: -1 }] }),
      "a size beyond 2^53": json({ layers: [{ ...good.layers[0], size: 2 ** 60 }] }),
      "a broken digest": json({ layers: [{ ...good.layers[0], digest: "sha256:x" }] }),
      "numbers as annotations": json({ annotations: { a: 1 } }),
      "an endless media type": json({ artifactType: `a/${"b".repeat(100_000)}` }),
      "endless layers": json({ layers: Array.from({ length: 20_000 }, () => good.layers[0]) }),
      "bytes that are no UTF-8": Buffer.concat([image.manifest.subarray(0, -1), Buffer.from(',"x":"\xff"}', "latin1")]),
      "another type than its own": json({ mediaType: "text/html" }),
    };
    for (const [what, body] of Object.entries(bad)) refused(await put("bad", body), 400, "MANIFEST_INVALID", what);
    const unknown = json({ layers: [{ ...good.layers[0], digest: digestOf(Buffer.from("nobody has it")) }] });
    refused(await put("bad", unknown), 400, "MANIFEST_BLOB_UNKNOWN", "a blob that nobody has");
    refused(await put("bad", json({ annotations: { a: "x".repeat(5_000_000) } })), 413, "SIZE_INVALID", "oversize");
    refused(await put(`sha256:${"a".repeat(64)}`, image.manifest), 400, "DIGEST_INVALID", "another digest");
    refused(await ask("GET", "/v2/bad/app/manifests/bad"), 404, "MANIFEST_UNKNOWN", "the tag");
    assert.deepEqual((await ask("GET", "/v2/bad/app/tags/list")).json(), { name: "bad/app", tags: ["v1"] });
  });

  test("odd but valid manifests are kept byte by byte", async () => {
    const odd = [
      JSON.stringify({ ...good, annotations: { a: "X" } }).replace('"X"', '"\\ud800"'),
      JSON.stringify(good).replace("{", '{"__proto__":{"x":1},'),
      JSON.stringify({
        ...good,
        annotations: Object.fromEntries(Array.from({ length: 20_000 }, (_, i) => [`k${i}`, ""])),
      }),
    ];
    for (const body of odd) {
      const answer = await put("odd", body);
      assert.equal(answer.status, 201, answer.body.toString());
      assert.equal((await ask("GET", "/v2/bad/app/manifests/odd")).body.toString(), body);
    }
    await ask("DELETE", "/v2/bad/app/manifests/odd");
  });

  test("ranges that cannot be met are 416 with the size; more than 512 are 400", async () => {
    const path = `/v2/bad/app/blobs/${digestOf(layer)}`;
    for (const range of [
      "bytes=400000-",
      `bytes=${"9".repeat(30)}-`,
      "bytes=abc",
      "bytes=5-2",
      "bytes=-0",
      "bytes=-",
    ]) {
      const answer = await ask("GET", path, { headers: { range } });
      refused(answer, 416, "RANGE_INVALID", range);
      assert.equal(answer.headers["content-range"], "bytes */400000", range);
    }
    const many = `bytes=${"0-0,".repeat(600)}1-1`;
    refused(await ask("GET", path, { headers: { range: many } }), 400, "RANGE_INVALID", "601 ranges");
    const clamped = await ask("GET", path, { headers: { range: `bytes=399990-${"9".repeat(30)}` } });
    assert.equal(clamped.status, 206);
    assert.deepEqual(clamped.body, layer.subarray(399_990));
  });

  test("queries with values of any size are answered, not broken by", async () => {
    for (const path of ["/v2/bad/app/tags/list", "/v2/_catalog"]) {
      for (const last of ["%00", "%ff", "x".repeat(5_000), "%F0%9F%90%8B".repeat(500)]) {
        assert.equal((await ask("GET", `${path}?last=${last}`)).status, 200, `${path} ${last.slice(0, 10)}`);
      }
      for (const n of ["-1", "abc", "1e9", "9".repeat(20)]) {
        refused(await ask("GET", `${path}?n=${n}`), 400, "UNSUPPORTED", `${path} n=${n}`);
      }
    }
    assert.match(`${(await ask("GET", `/v2/_meridian/users/${"x".repeat(7_000)}`)).status}`, /^4/);
  });

  test("other schemes, other people's tokens and forged ones are 401 with a challenge", async () => {
    const [, claims] = token.split(".");
    const none = Buffer.from('{"alg":"none"}').toString("base64url");
    const forged = [`Bearer ${none}.${claims}.`, `Bearer ${token.slice(0, -6)}AAAAAA`, "Bearer a.b.c", "Bearer x"];
    for (const authorization of [...forged, `Bearer ${"x".repeat(10_000)}`]) {
      const answer = await http.ask("GET", "/v2/bad/app/manifests/v1", { headers: { authorization } });
      refused(answer, 401, "UNAUTHORIZED", authorization.slice(0, 60));
      assert.equal(bearerChallenge(answer).error, "invalid_token");
    }
    for (const authorization of ["Negotiate abc", "Bearer", "Digest x", "Basic YWRtaW46d3Jvbmc="]) {
      const answer = await http.ask("GET", "/v2/bad/app/manifests/v1", { headers: { authorization } });
      refused(answer, 401, "UNAUTHORIZED", authorization);
      assert.ok(bearerChallenge(answer).realm?.startsWith("https://"), authorization);
    }
    for (const authorization of ["Basic %%%", "Digest x", "Basic ADoA", "Basic YWRtaW46d3Jvbmc="]) {
      refused(await http.ask("GET", "/token", { headers: { authorization } }), 401, "UNAUTHORIZED", authorization);
    }
  });

  test("refused logins are counted where a monitor looks", async () => {
    const answer = await fetch(`${cluster.run.sites[0]?.admin}/metrics`);
    assert.match(await answer.text(), /^meridian_auth_logins_total\{[^}]*outcome="refused"[^}]*\} [1-9]/m);
  });

  test("broken HTTP is answered 4xx on its own connection, and hurts nobody else", async () => {
    const many = (count: number): string => Array.from({ length: count }, (_, i) => `X-${i}: y\r\n`).join("");
    const broken: Array<[string, string, number]> = [
      ["no HTTP", "\x00\x01 nonsense\r\n\r\n", 400],
      ["a length that is none", "POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n", 400],
      ["a negative length", "POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", 400],
      [
        "two framings",
        "POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
      ],
      ["no host", "GET /v2/ HTTP/1.1\r\n\r\n", 400],
      ["a huge header", `GET /v2/ HTTP/1.1\r\nHost: x\r\nX: ${"y".repeat(100_000)}\r\n\r\n`, 431],
      ["10,000 headers", `GET /v2/ HTTP/1.1\r\nHost: x\r\n${many(10_000)}\r\n`, 431],
    ];
    for (const [what, text, status] of broken) {
      using socket = await RawSocket.open(cluster.gateway("eu"), cluster.ca);
      await socket.send(text);
      assert.equal((await socket.answer()).status, status, what);
    }
    using socket = await RawSocket.open(cluster.gateway("eu"), cluster.ca);
    await socket.send(
      `PUT /v2/bad/app/manifests/chunk HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${token}\r\n` +
        `Content-Type: ${MANIFEST_TYPE}\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n\r\n`,
    );
    assert.equal((await socket.answer()).status, 400);
    assert.equal((await cluster.at("eu").pull("bad/app", "v1")).digest, image.digest);
    assert.equal(cluster.pid("eu", "site"), pid, "the process was started again");
  });
});
