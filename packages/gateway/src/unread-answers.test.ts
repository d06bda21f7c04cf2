import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { connect as connectTls } from "node:tls";
import { ensureDevPki } from "@meridian/pki";
import { createLogger, createSystemClock, type TlsSource, systemTimers as timers } from "@meridian/runtime";
import { type EdgeServer, startEdgeServer } from "./edge-server.ts";
import type { Exchange } from "./exchange.ts";

const PIECE = Buffer.alloc(256 * 1024, 1);
const PIECES = 200;
const clock = createSystemClock();
const log = createLogger({ level: "error", write: () => undefined });
const directory = mkdtempSync(join(tmpdir(), "meridian-unread-"));
let tls: TlsSource;

before(async () => {
  const made = await ensureDevPki({
    ...{ dir: directory, trustDomain: "test-cluster", clock },
    sites: [{ name: "eu", processes: [] }],
  });
  const { key, cert } = made.sites.eu!.edge;
  const material = {
    key: readFileSync(key, "utf8"),
    cert: readFileSync(cert, "utf8"),
    ca: readFileSync(made.ca, "utf8"),
  };
  tls = { current: () => material, subscribe: () => ({ [Symbol.dispose]: () => undefined }) };
});
after(() => rmSync(directory, { recursive: true, force: true }));

/** An edge whose answers are 50 MB long; `ended` resolves with how the first came to its end, and after how many pieces. */
async function startEdge(answerIdleMs: number, secure: boolean) {
  const { promise: ended, resolve } = Promise.withResolvers<{ error: unknown; pieces: number }>();
  const answer = async (exchange: Exchange): Promise<void> => {
    if (exchange.path === "/small") return exchange.send(200, [], "small");
    const body = exchange.begin(200, ["Content-Length", String(PIECES * PIECE.length)]);
    let pieces = 0;
    try {
      while (pieces < PIECES) {
        await body.write(PIECE);
        pieces += 1;
      }
      body.end();
      resolve({ error: undefined, pieces });
    } catch (error) {
      body.abort();
      resolve({ error, pieces });
    }
  };
  const edge = await startEdgeServer({
    ...{ host: "127.0.0.1", port: 0, keepAliveMs: 60_000, headersTimeoutMs: 60_000, drainTimeoutMs: 100 },
    ...(secure ? { tls } : {}),
    limits: { idleMs: 60_000, answerIdleMs, discardMs: 1_000, timers },
    handle: (exchange) => void answer(exchange),
    ...{ clock, timers, log },
  });
  return { edge, ended };
}

const request = (path: string, ...fields: string[]): string =>
  `GET ${path} HTTP/1.1\r\n${["Host: a", ...fields].join("\r\n")}\r\n\r\n`;

async function open({ port }: EdgeServer, secure: boolean): Promise<Socket> {
  const socket = secure ? connectTls({ port, rejectUnauthorized: false }) : connect(port);
  await once(socket, secure ? "secureConnect" : "connect");
  return socket.on("error", () => undefined);
}

/** A field that comes twice is for node's parser. */
const WAYS = { "the read lane": [], "node's parser": ["X-A: 1", "X-A: 2"] };

for (const secure of [false, true]) {
  for (const [way, fields] of Object.entries(WAYS)) {
    describe(`HTTP/1.1 ${secure ? "over TLS" : "in plain"}, by ${way}`, () => {
      test("a client that takes nothing more of its answer is cut off", async () => {
        const { edge, ended } = await startEdge(200, secure);
        await using _closed = edge;
        const socket = await open(edge, secure);
        socket.write(request("/", ...fields));
        await once(socket, "data");
        socket.pause();
        const { error, pieces } = await ended;
        assert.match(String(error), /the client went away/);
        assert.ok(pieces < PIECES);
        socket.destroy();
      });

      test("a client that is slow, but takes something now and then, gets all of it", async () => {
        const { edge, ended } = await startEdge(1_000, secure);
        await using _closed = edge;
        const socket = await open(edge, secure);
        socket.write(request("/", ...fields));
        for (let rest = 20; rest > 0; rest--) {
          await once(socket.resume(), "data");
          socket.pause();
          await new Promise((done) => setTimeout(done, 100));
        }
        socket.resume();
        assert.deepEqual(await ended, { error: undefined, pieces: PIECES });
        socket.destroy();
      });
    });
  }
}

test("a client that asks on and on without reading is cut off", async () => {
  const { edge } = await startEdge(200, false);
  await using _closed = edge;
  const socket = await open(edge, false);
  socket.pause();
  let over = false;
  const cut = new Promise<void>((resolve) => {
    socket.on("close", () => {
      over = true;
      resolve();
    });
  });
  const ask = (): void => {
    if (!over) socket.write(request("/small").repeat(1_000), () => setImmediate(ask));
  };
  ask();
  await cut;
});

test("an answer for which nothing is ready yet is waited for", async () => {
  const { promise: asked, resolve } = Promise.withResolvers<Exchange>();
  const edge = await startEdgeServer({
    ...{ host: "127.0.0.1", port: 0, keepAliveMs: 60_000, headersTimeoutMs: 60_000, drainTimeoutMs: 100 },
    limits: { idleMs: 60_000, answerIdleMs: 50, discardMs: 1_000, timers },
    handle: resolve,
    ...{ clock, timers, log },
  });
  await using _closed = edge;
  const socket = await open(edge, false);
  socket.write(request("/", "X-A: 1", "X-A: 2"));
  const exchange = await asked;
  const body = exchange.begin(200, ["Content-Length", "2"]);
  await body.write(Buffer.from("a"));
  await once(socket, "data");
  await new Promise((done) => setTimeout(done, 300));
  await body.write(Buffer.from("b"));
  body.end();
  assert.equal(String((await once(socket, "data"))[0]), "b");
  socket.destroy();
});

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
/** SETTINGS_INITIAL_WINDOW_SIZE and the connection's WINDOW_UPDATE: 2 147 418 112 bytes. */
const WIDE_WINDOWS = Buffer.from("00000604000000000000047fff0000" + "000004080000000000" + "7fff0000", "hex");
/** HEADERS of stream 1, its only frame: GET https://a/ */
const GET_ROOT = Buffer.from("000006010500000001" + "828784" + "410161", "hex");

describe("HTTP/2", () => {
  test("a client that takes nothing more from its connection is cut off", async () => {
    const { edge, ended } = await startEdge(200, true);
    await using _closed = edge;
    const socket = connectTls({ port: edge.port, rejectUnauthorized: false, ALPNProtocols: ["h2"] });
    await once(
      socket.on("error", () => undefined),
      "secureConnect",
    );
    socket.write(Buffer.concat([PREFACE, WIDE_WINDOWS, GET_ROOT]));
    await once(socket, "data");
    socket.pause();
    assert.match(String((await ended).error), /the client went away/);
    socket.destroy();
  });

  test("a stream whose client takes no more is cut off, others of its connection go on", async () => {
    const { edge, ended } = await startEdge(200, true);
    await using _closed = edge;
    const session = connectHttp2(`https://127.0.0.1:${edge.port}`, { rejectUnauthorized: false });
    const stream = session.request({ ":path": "/" });
    const reset = once(stream, "close");
    stream.on("error", () => undefined);
    await once(stream, "response");
    let over = false;
    void reset.then(() => {
      over = true;
    });
    let asked = 0;
    while (!over) {
      const small = session.request({ ":path": "/small" });
      const chunks: Buffer[] = [];
      for await (const chunk of small) chunks.push(chunk as Buffer);
      assert.equal(Buffer.concat(chunks).toString(), "small");
      asked += 1;
    }
    assert.notEqual((await ended).error, undefined);
    assert.ok(asked > 0);
    session.destroy();
  });
});
