import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { Server } from "node:http";
import { after, before, describe, test } from "node:test";
import { digestOf } from "@meridian/oci";
import { adminOf } from "./http-client.fixture.ts";
import { RawConnection } from "./raw-connection.fixture.ts";
import { bearer, startTestCluster, type TestCluster } from "./test-cluster.fixture.ts";

const NAME = "team/app";
const HEADERS_MS = 200;
const BODY_IDLE_MS = 2_000;
const PIECE = 100;
const PIECES = 30;
const EVERY_MS = 100;

/** Node says there which server a request came to. */
const STARTED = "http.server.request.start";

describe("an upload that takes its time", () => {
  let cluster: TestCluster;
  before(async () => {
    cluster = await startTestCluster({ config: { headersTimeoutMs: HEADERS_MS, bodyIdleMs: BODY_IDLE_MS } });
  });
  after(() => cluster[Symbol.asyncDispose]());

  test("is taken when it is longer under way than anything may be silent", async () => {
    const admin = adminOf(cluster.site, NAME);
    const content = randomBytes(PIECES * PIECE);
    const location = String((await admin.call("POST", "/blobs/uploads/")).headers.location);
    using connection = await RawConnection.open(cluster.site.gateway.url);
    const { authorization } = bearer("admin", `${NAME}:pull,push`);
    const head = `Host: x\r\nAuthorization: ${authorization}\r\nContent-Length: ${content.length}`;
    connection.send(`PUT ${location}?digest=${digestOf(content)} HTTP/1.1\r\n${head}\r\n\r\n`);
    let sent = 0;
    const drip = setInterval(() => {
      connection.send(content.toString("latin1", sent, sent + PIECE));
      sent += PIECE;
      if (sent >= content.length) clearInterval(drip);
    }, EVERY_MS);
    try {
      assert.ok(PIECES * EVERY_MS > BODY_IDLE_MS);
      const answer = await connection.answer();
      assert.equal(answer?.status, 201, `${answer?.head}`);
    } finally {
      clearInterval(drip);
    }
    assert.deepEqual((await admin.get(`/blobs/${digestOf(content)}`)).body, content);
  });

  test("meets no limit on the whole of a request, as node sets by default", async () => {
    const servers: Server[] = [];
    const seen = (message: unknown): void => void servers.push((message as { server: Server }).server);
    subscribe(STARTED, seen);
    try {
      await adminOf(cluster.site, NAME).call("POST", "/blobs/uploads/");
    } finally {
      unsubscribe(STARTED, seen);
    }
    const [server] = servers;
    assert.ok(server);
    assert.deepEqual([server.requestTimeout, server.timeout], [0, 0]);
  });
});
