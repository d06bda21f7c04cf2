import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { digestOf } from "@meridian/oci";
import { adminOf, ask } from "./http-client.fixture.ts";
import { type RawAnswer, RawConnection } from "./raw-connection.fixture.ts";
import { bearer, startTestCluster, type TestCluster } from "./test-cluster.fixture.ts";

const NAME = "team/app";
const HOST = "Host: x\r\n";
const LOGIN = `Authorization: ${bearer("admin", `${NAME}:pull,push,delete`).authorization}\r\n`;
const DIGEST = `sha256:${"a".repeat(64)}`;
/** What a request hidden in another would do. */
const HIDDEN = `DELETE /v2/${NAME}/manifests/kept HTTP/1.1\r\n${HOST}${LOGIN}\r\n`;

let cluster: TestCluster;

before(async () => {
  const auth = () => ({ issueToken: async () => ({ token: "t", expiresIn: 300, refreshToken: "" }) });
  cluster = await startTestCluster({ auth, config: { headersTimeoutMs: 800, bodyIdleMs: 400, discardMs: 300 } });
  assert.equal((await adminOf(cluster.site, NAME).pushImage("kept")).pushed.status, 201);
});
after(() => cluster[Symbol.asyncDispose]());

/** The first answer to `text`. @throws AssertionError when the connection ends without one. */
async function say(text: string): Promise<RawAnswer> {
  using connection = await RawConnection.open(cluster.site.gateway.url);
  connection.send(text);
  const answer = await connection.answer();
  assert.ok(answer !== undefined, `no answer to ${text.slice(0, 100)}`);
  return answer;
}

/** @throws AssertionError unless the request is refused, the connection ended, and nothing after it was read. */
async function isCutOff(text: string, what: string): Promise<void> {
  using connection = await RawConnection.open(cluster.site.gateway.url);
  connection.send(text);
  const answer = await connection.answer();
  assert.ok(answer !== undefined && answer.status >= 400 && answer.status < 500, `${what}: ${answer?.head}`);
  assert.doesNotMatch(await connection.rest(), /HTTP\/1/, `${what}: more was answered`);
}

const isKept = async (): Promise<void> =>
  assert.equal(
    (await adminOf(cluster.site, NAME).head("/manifests/kept")).status,
    200,
    "the hidden request was obeyed",
  );

describe("a request that two servers could read differently", () => {
  const post = (headers: string, body: string): string => `POST /token HTTP/1.1\r\n${HOST}${headers}\r\n${body}`;
  const chunked = "Transfer-Encoding: chunked\r\n";
  const requests: Record<string, string> = {
    "a length and chunks": post(`Content-Length: 5\r\n${chunked}`, `0\r\n\r\n${HIDDEN}`),
    "chunks and a length": post(`${chunked}Content-Length: 400\r\n`, `0\r\n\r\n${HIDDEN}`),
    "a read with both": `GET /v2/ HTTP/1.1\r\n${HOST}Content-Length: 5\r\n${chunked}\r\n0\r\n\r\n${HIDDEN}`,
    "an unknown coding": post("Transfer-Encoding: xchunked\r\n", `0\r\n\r\n${HIDDEN}`),
    "identity as coding": post("Transfer-Encoding: identity\r\n", HIDDEN),
    "chunks not last": post("Transfer-Encoding: chunked, identity\r\n", `0\r\n\r\n${HIDDEN}`),
    "a vertical tab before the coding": post("Transfer-Encoding: \x0bchunked\r\n", `0\r\n\r\n${HIDDEN}`),
    "two codings": post(`${chunked}${chunked}`, `0\r\n\r\n${HIDDEN}`),
    "two lengths": post("Content-Length: 5\r\nContent-Length: 6\r\n", `hello${HIDDEN}`),
    "one length twice": post("Content-Length: 5\r\nContent-Length: 5\r\n", `hello${HIDDEN}`),
    "a list of lengths": post("Content-Length: 5, 5\r\n", `hello${HIDDEN}`),
    "a signed length": post("Content-Length: +5\r\n", `hello${HIDDEN}`),
    "a hexadecimal length": post("Content-Length: 0x5\r\n", `hello${HIDDEN}`),
    "a length with a space inside": post("Content-Length: 5 6\r\n", `hello${HIDDEN}`),
    "a length beyond any": post("Content-Length: 99999999999999999999\r\n", `hello${HIDDEN}`),
    "a space before the colon": post("Content-Length : 5\r\n", `hello${HIDDEN}`),
    "a chunk beyond any": post(chunked, `fffffffffffffffffff\r\n${HIDDEN}`),
    "a negative chunk": post(chunked, `-1\r\n${HIDDEN}`),
    "chunks that end in a bare LF": post(chunked, `5\nhello\n0\n\n${HIDDEN}`),
    "lines that end in a bare LF": `GET /v2/ HTTP/1.1\nHost: x\n\n${HIDDEN}`,
    "one line that ends in a bare LF": `GET /v2/ HTTP/1.1\r\nHost: x\nX: y\r\n\r\n${HIDDEN}`,
    "a bare CR": `GET /v2/ HTTP/1.1\r\nHost: x\rX: y\r\n\r\n${HIDDEN}`,
    "a NUL": `GET /v2/ HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n${HIDDEN}`,
    "a folded line": `GET /v2/ HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n${HIDDEN}`,
    "a folded first line": `GET /v2/ HTTP/1.1\r\n Host: x\r\n\r\n${HIDDEN}`,
    "two hosts": `GET /v2/ HTTP/1.1\r\n${HOST}Host: evil\r\n\r\n`,
    "two logins": `GET /v2/${NAME}/tags/list HTTP/1.1\r\n${HOST}${LOGIN}Authorization: Bearer bad\r\n\r\n`,
    "no host": "GET /v2/ HTTP/1.1\r\n\r\n",
    "another protocol's preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a version that is none": `GET /v2/ HTTP/1.7\r\n${HOST}\r\n`,
    "an unknown method": `BREW /v2/ HTTP/1.1\r\n${HOST}\r\n`,
  };
  for (const [what, text] of Object.entries(requests)) {
    test(`is refused with its connection: ${what}`, async () => {
      await isCutOff(text, what);
      await isKept();
    });
  }

  test("is refused after good ones on the same connection too", async () => {
    using connection = await RawConnection.open(cluster.site.gateway.url);
    const good = `GET /v2/${NAME}/tags/list HTTP/1.1\r\n${HOST}${LOGIN}\r\n`;
    connection.send(`${good}${good}GET /v2/ HTTP/1.1\r\n${HOST}Content-Length: 5\r\n${chunked}\r\n0\r\n\r\n${HIDDEN}`);
    assert.equal((await connection.answer())?.status, 200);
    assert.equal((await connection.answer())?.status, 200);
    assert.equal((await connection.answer())?.status, 400);
    assert.equal(await connection.rest(), "");
    await isKept();
  });
});

describe("sizes beyond their bound", () => {
  const form = `POST /token HTTP/1.1\r\n${HOST}Content-Type: application/x-www-form-urlencoded\r\n`;
  const get = (target: string, headers = ""): string => `GET ${target} HTTP/1.1\r\n${HOST}${LOGIN}${headers}\r\n`;
  const bounds: Record<string, [string, number]> = {
    "a request line without end": [`GET /${"a".repeat(100_000)}`, 431],
    "a path of 9 KiB": [get(`/v2/${"a/".repeat(4_600)}manifests/v1`), 404],
    "a path of 40 KiB": [get(`/v2/${"a/".repeat(20_000)}manifests/v1`), 431],
    "a query of 9 KiB": [get(`/v2/${NAME}/tags/list?n=${"1".repeat(9_000)}`), 414],
    "a header of 40 KiB": [get("/v2/", `X: ${"y".repeat(40_000)}\r\n`), 431],
    "3,000 headers": [get("/v2/", Array.from({ length: 3_000 }, (_, n) => `x-${n}: y\r\n`).join("")), 431],
    "trailers of 40 KiB": [
      `${form}Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n${"X: yyyyyyyyyy\r\n".repeat(3_000)}\r\n`,
      431,
    ],
    "an extension of 20 KiB on a chunk": [
      `${form}Transfer-Encoding: chunked\r\n\r\n1;${"x".repeat(20_000)}\r\na\r\n0\r\n\r\n`,
      413,
    ],
    "credentials of 40 KiB": [
      `GET /token HTTP/1.1\r\n${HOST}Authorization: Basic ${"YTpi".repeat(10_000)}\r\n\r\n`,
      431,
    ],
    "a form of 65 KiB": [`${form}Content-Length: 66000\r\n\r\n`, 413],
    "a form of 65 KiB in chunks": [
      `${form}Transfer-Encoding: chunked\r\n\r\n${`1000\r\n${"a".repeat(4_096)}\r\n`.repeat(17)}0\r\n\r\n`,
      413,
    ],
    "101 scopes": [get(`/token?${"scope=a&".repeat(101)}`).replace(LOGIN, ""), 400],
    "a manifest of 5 MiB": [
      `PUT /v2/${NAME}/manifests/v1 HTTP/1.1\r\n${HOST}${LOGIN}Content-Length: 5242880\r\n\r\n`,
      413,
    ],
  };
  for (const [what, [text, status]] of Object.entries(bounds)) {
    test(`are refused: ${what}`, async () => assert.equal((await say(text)).status, status));
  }

  test("inside Basic credentials mean nothing", async () => {
    for (const text of ["%%%", "YTpi YTpi", "YTpi\tYTpi", "ÿ", "YTpi,", '"YTpi"']) {
      const answer = await say(`GET /token HTTP/1.1\r\n${HOST}Authorization: Basic ${text}\r\n\r\n`);
      assert.equal(answer.status, 401, text);
    }
  });
});

describe("names that hold line ends or lead elsewhere", () => {
  const line = "%0d%0aX-Evil:%201%0d%0a%0d%0aevil";
  const paths = ["..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc", "../../etc", "%00", "..%5c..", "....//"];

  test("never reach the head of an answer", async () => {
    const targets = [
      `PUT /v2/${NAME}/manifests/v1${line}`,
      `PUT /v2/${NAME}/manifests/${DIGEST}?tag=v1${line}`,
      `POST /v2/${NAME}/blobs/uploads/?digest=${DIGEST}${line}`,
      `POST /v2/${NAME}/blobs/uploads/?mount=${DIGEST}${line}`,
      `POST /v2/${NAME}/blobs/uploads/?mount=${DIGEST}&from=x${line}`,
      `POST /v2/${NAME}/blobs/uploads/?digest-algorithm=sha512${line}`,
      `PUT /v2/${NAME}/blobs/uploads/x${line}?digest=${DIGEST}`,
      `GET /v2/${NAME}/tags/list?n=1&last=kept${line}`,
      `GET /v2/${NAME}/referrers/${DIGEST}?artifactType=a/b${line}`,
      `GET /v2/${NAME}${line}/tags/list`,
      `GET /v2/_catalog?n=1&last=${line}`,
      `GET /token?service=${line}&scope=repository:a${line}:pull`,
      `GET /v2/${NAME}/_meridian/route/${DIGEST}${line}`,
    ];
    for (const target of targets) {
      const answer = await say(`${target} HTTP/1.1\r\n${HOST}${LOGIN}Content-Length: 0\r\n\r\n`);
      assert.ok(answer.status >= 200 && answer.status < 500, `${target}: ${answer.head}`);
      assert.doesNotMatch(answer.head, /x-evil|\r\n\r\n/i, target);
    }
  });

  test("never break out of the challenge", async () => {
    for (const host of ['evil",scope="x', "evil/../", "e vil", "evil\\", "", "[::1", "evil:port", "x".repeat(300)]) {
      const answer = await say(`GET /v2/ HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
      const challenge = /^www-authenticate: (.*)$/im.exec(answer.head)?.[1];
      assert.match(challenge ?? "", /^Bearer realm="http:\/\/127\.0\.0\.1:\d+\/token",service="test-cluster"$/, host);
    }
  });

  test("name nothing, wherever they stand", async () => {
    for (const path of paths) {
      const targets = [
        `GET /v2/${path}/manifests/kept`,
        `GET /v2/${NAME}/${path}/manifests/kept`,
        `GET /v2/${NAME}/manifests/${path}`,
        `GET /v2/${NAME}/blobs/${path}`,
        `GET /v2/${NAME}/blobs/sha256:${path}`,
        `GET /v2/${NAME}/blobs/uploads/${path}`,
        `PATCH /v2/${NAME}/blobs/uploads/${path}`,
        `PUT /v2/${NAME}/blobs/uploads/${path}?digest=${DIGEST}`,
        `POST /v2/${NAME}/blobs/uploads/?digest=sha256:${path}`,
        `POST /v2/${NAME}/blobs/uploads/?mount=sha256:${path}&from=${NAME}`,
        `PUT /v2/${NAME}/manifests/${path}`,
        `DELETE /v2/${NAME}/manifests/${path}`,
        `GET /v2/${NAME}/referrers/${path}`,
      ];
      for (const target of targets) {
        const answer = await say(`${target} HTTP/1.1\r\n${HOST}${LOGIN}Content-Length: 0\r\n\r\n`);
        assert.ok(answer.status >= 400 && answer.status < 500, `${target}: ${answer.head}`);
      }
      const mounted = await say(
        `POST /v2/${NAME}/blobs/uploads/?mount=${DIGEST}&from=${path} HTTP/1.1\r\n${HOST}${LOGIN}Content-Length: 0\r\n\r\n`,
      );
      assert.equal(mounted.status, 202, `a mount from ${path} is an upload like any other`);
      for (const list of [`/v2/${NAME}/tags/list`, "/v2/_catalog"]) {
        const listed = await ask(cluster.site.gateway.url, "GET", `${list}?last=${path}`, {
          headers: bearer("admin", `${NAME}:pull`, "registry:catalog:*"),
        });
        assert.equal(listed.status, 200, `${list} after ${path}`);
      }
    }
  });
});

describe("a client that is slow on purpose", () => {
  test("is cut off when the head of its request does not come", async () => {
    const heads = ["", "GET /v2/ HT", `GET /v2/ HTTP/1.1\r\n${HOST}X: `, `POST /token HTTP/1.1\r\n${HOST}`];
    await Promise.all(
      heads.map(async (head) => {
        using connection = await RawConnection.open(cluster.site.gateway.url);
        if (head !== "") connection.send(head);
        const answer = await connection.answer();
        assert.ok(answer === undefined || answer.status === 408, `${JSON.stringify(head)}: ${answer?.head}`);
        await connection.rest();
        assert.ok(connection.closed);
      }),
    );
  });

  test("is cut off though a byte of the head comes now and then", async () => {
    using connection = await RawConnection.open(cluster.site.gateway.url);
    connection.send(`POST /token HTTP/1.1\r\n${HOST}X: `);
    const drip = setInterval(() => connection.send("y"), 50);
    try {
      const answer = await connection.answer();
      assert.ok(answer === undefined || answer.status === 408, `${answer?.head}`);
    } finally {
      clearInterval(drip);
    }
  });

  test("leaves an upload that can be resumed when its body stalls", async () => {
    const admin = adminOf(cluster.site, NAME);
    const content = Buffer.from("0123456789".repeat(100));
    const begun = await admin.call("POST", "/blobs/uploads/");
    const location = String(begun.headers.location);
    using connection = await RawConnection.open(cluster.site.gateway.url);
    connection.send(`PATCH ${location} HTTP/1.1\r\n${HOST}${LOGIN}Content-Length: ${content.length}\r\n\r\n`);
    connection.send(content.toString("latin1", 0, 300));
    const answer = await connection.answer();
    assert.equal(answer?.status, 408, `${answer?.head}`);
    assert.match(answer?.body ?? "", /no byte of the body came for 400 ms/);

    const session = location.slice(`/v2/${NAME}`.length);
    const status = await admin.get(session);
    assert.deepEqual([status.status, status.headers.range], [204, "0-299"]);
    const rest = await admin.call("PATCH", session, {
      body: content.subarray(300),
      headers: { "content-range": `300-${content.length - 1}` },
    });
    assert.equal(rest.status, 202);
    const digest = digestOf(content);
    assert.equal((await admin.call("PUT", `${session}?digest=${digest}`)).status, 201);
    assert.deepEqual((await admin.get(`/blobs/${digest}`)).body, content);
  });

  test("is told so when the body of a manifest or a form stalls", async () => {
    for (const head of [
      `PUT /v2/${NAME}/manifests/slow HTTP/1.1\r\n${HOST}${LOGIN}Content-Type: application/json\r\n`,
      `POST /token HTTP/1.1\r\n${HOST}Content-Type: application/x-www-form-urlencoded\r\n`,
    ]) {
      assert.equal((await say(`${head}Content-Length: 100\r\n\r\n{"a`)).status, 408, head);
      assert.equal((await say(`${head}Transfer-Encoding: chunked\r\n\r\n3\r\n{"a\r\n`)).status, 408, head);
    }
  });

  test("keeps nobody else waiting", async () => {
    const slow = await Promise.all(Array.from({ length: 200 }, () => RawConnection.open(cluster.site.gateway.url)));
    try {
      for (const connection of slow) connection.send(`POST /v2/${NAME}/blobs/uploads/ HTTP/1.1\r\nHost:`);
      assert.equal((await adminOf(cluster.site, NAME).get("/manifests/kept")).status, 200);
    } finally {
      for (const connection of slow) connection[Symbol.dispose]();
    }
  });
});
