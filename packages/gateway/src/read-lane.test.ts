import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { describe, test } from "node:test";
import { createManualTime, createSystemClock, systemTimers } from "@meridian/runtime";
import type { Exchange } from "./exchange.ts";
import { openReadLane, type ReadLane } from "./read-lane.ts";

/** A server of node's that answers "node" behind a lane whose requests go to `handle`. */
class LanedServer implements AsyncDisposable {
  readonly server: Server;
  readonly lane: ReadLane;
  readonly seenByNode: string[] = [];
  /** Resolves once node's server was given a connection. */
  readonly handedOver: Promise<void>;

  constructor(
    handle: (exchange: Exchange) => void | Promise<void>,
    times: { readonly clock: ReturnType<typeof createSystemClock>; readonly timers: typeof systemTimers } = {
      clock: createSystemClock(),
      timers: systemTimers,
    },
  ) {
    this.server = createServer((request, response) => {
      let body = "";
      request.on("data", (chunk: Buffer) => {
        body += chunk.toString();
      });
      request.on("end", () => {
        this.seenByNode.push(`${request.method} ${request.url} ${body}`);
        response.end("node");
      });
    });
    const [accept] = this.server.listeners("connection") as Array<(socket: Socket) => void>;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.handedOver = promise;
    this.server.off("connection", accept!).on("connection", (socket: Socket) => {
      accept!.call(this.server, socket);
      resolve();
    });
    this.lane = openReadLane(this.server, false, {
      handle: (exchange) => void handle(exchange),
      keepAliveMs: 5_000,
      firstByteMs: 2_000,
      answerIdleMs: 60_000,
      ...times,
    });
  }

  async client(): Promise<Client> {
    if (!this.server.listening) await once(this.server.listen(0, "127.0.0.1"), "listening");
    const socket = connect((this.server.address() as AddressInfo).port, "127.0.0.1");
    await once(socket, "connect");
    return new Client(socket);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.lane[Symbol.dispose]();
    this.server.closeAllConnections();
    this.lane.close();
    await new Promise((done) => this.server.close(done));
  }
}

/** A connection on which a test says what it wants, byte by byte. */
class Client implements Disposable {
  readonly socket: Socket;
  text = "";
  ended = false;
  #changed = Promise.withResolvers<void>();

  constructor(socket: Socket) {
    this.socket = socket;
    socket.setEncoding("latin1");
    socket.on("data", (chunk: string) => {
      this.text += chunk;
      this.#tell();
    });
    const onEnd = (): void => {
      this.ended = true;
      this.#tell();
    };
    socket.on("end", onEnd).on("error", onEnd);
  }

  /** Resolves once everything up to `last` has come, and takes it. */
  async until(last: string): Promise<string> {
    await this.#when(() => this.text.includes(last) || this.ended);
    const at = this.text.indexOf(last);
    if (at < 0) throw new Error(`closed after: ${this.text}`);
    const taken = this.text.slice(0, at + last.length);
    this.text = this.text.slice(at + last.length);
    return taken;
  }

  /** Resolves once the server has ended the connection. */
  closed(): Promise<void> {
    return this.#when(() => this.ended);
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }

  async #when(condition: () => boolean): Promise<void> {
    const late = deadline();
    late.catch(() => undefined);
    while (!condition()) await Promise.race([this.#changed.promise, late]);
  }

  #tell(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}

function deadline(): Promise<never> {
  return new Promise((_, reject) => {
    setTimeout(() => reject(new Error("nothing came for 5 s")), 5_000).unref();
  });
}

const echo = (exchange: Exchange): void =>
  exchange.send(200, ["Content-Type", "text/plain"], `lane ${exchange.method} ${exchange.path}!`);
const get = (path: string, ...fields: string[]): string =>
  `GET ${path} HTTP/1.1\r\n${["Host: a", ...fields].join("\r\n")}\r\n\r\n`;

describe("the read lane", () => {
  test("answers plain reads on one connection, with length, date and keep-alive", async () => {
    await using server = new LanedServer(echo);
    using client = await server.client();
    for (const path of ["/a", "/b?c=d"]) {
      client.socket.write(get(path, "Accept: */*"));
      const answer = await client.until("!");
      assert.match(answer, /^HTTP\/1\.1 200 OK\r\nContent-Type: text\/plain\r\nContent-Length: 12\r\n/);
      assert.match(answer, /\r\nDate: \w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT\r\nConnection: keep-alive\r\n/);
      assert.match(answer, /\r\nKeep-Alive: timeout=5\r\n\r\nlane GET \/[ab]!$/);
    }
    assert.deepEqual(server.seenByNode, []);
  });

  test("gives header fields by lower-case name, trimmed, also when they are those of the request before", async () => {
    const seen: Array<string | undefined> = [];
    await using server = new LanedServer((exchange) => {
      seen.push(exchange.header("x-one"), exchange.host, exchange.header("absent"));
      echo(exchange);
    });
    using client = await server.client();
    for (const field of ["X-One: \t first value \t", "X-One: \t first value \t", "x-oNe:second", "X-One:"]) {
      client.socket.write(get("/", field));
      await client.until("!");
    }
    const hosts = ["a", undefined];
    assert.deepEqual(seen, ["first value", ...hosts, "first value", ...hosts, "second", ...hosts, "", ...hosts]);
  });

  test("hands a connection to node at the first other request, with its body, and for good", async () => {
    await using server = new LanedServer(echo);
    using client = await server.client();
    client.socket.write(get("/a"));
    await client.until("!");
    client.socket.write("POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nwo");
    client.socket.write("rd");
    await client.until("node");
    client.socket.write(get("/later"));
    await client.until("node");
    assert.deepEqual(server.seenByNode, ["POST /up word", "GET /later "]);
  });

  test("lets node wait for the rest of a head", async () => {
    await using server = new LanedServer(echo);
    using client = await server.client();
    client.socket.write("GET /part HTTP/1.1\r\nHo");
    await server.handedOver;
    client.socket.write("st: a\r\n\r\n");
    await client.until("node");
    assert.deepEqual(server.seenByNode, ["GET /part "]);
  });

  const unusual: Record<string, string> = {
    "HTTP/1.0": "GET /x HTTP/1.0\r\nHost: a\r\n\r\n",
    "another method": "OPTIONS /x HTTP/1.1\r\nHost: a\r\n\r\n",
    "an absolute target": "GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n",
    "a field that comes twice": get("/x", "X-A: 1", "x-a: 2"),
    "an empty body": get("/x", "Content-Length: 0"),
    "a chunked body": `${get("/x", "Transfer-Encoding: chunked")}0\r\n\r\n`,
    "an upgrade that nobody offers": get("/x", "Connection: upgrade", "Upgrade: h2c"),
    "a long head": get("/x", `X-Long: ${"a".repeat(9_000)}`),
    "many fields": get("/x", ...Array.from({ length: 70 }, (_, i) => `X-${i}: 1`)),
  };
  for (const [what, request] of Object.entries(unusual)) {
    test(`leaves ${what} to node`, async () => {
      await using server = new LanedServer(() => assert.fail("the lane took it"));
      using client = await server.client();
      client.socket.write(request, "latin1");
      await client.until("node");
      assert.equal(server.seenByNode.length, 1);
    });
  }

  const refused: Record<string, string> = {
    "no host": "GET /x HTTP/1.1\r\nAccept: */*\r\n\r\n",
    "two hosts": "GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "a length and a coding": get("/x", "Content-Length: 3", "Transfer-Encoding: chunked"),
    "a space before the colon": get("/x", "X-A : 1"),
    "a carriage return in a value": get("/x", "X-A: 1\rX-B: 2"),
    "a nul in a value": get("/x", "X-A: \0"),
    "a space in the target": "GET /x y HTTP/1.1\r\nHost: a\r\n\r\n",
  };
  for (const [what, request] of Object.entries(refused)) {
    test(`never serves ${what}: node decides`, async () => {
      await using server = new LanedServer(() => assert.fail("the lane took it"));
      using client = await server.client();
      client.socket.write(request, "latin1");
      const answer = await client.until("\r\n\r\n");
      assert.match(answer, /^HTTP\/1\.1 (?:400|200)/);
      if (answer.startsWith("HTTP/1.1 400")) assert.deepEqual(server.seenByNode, []);
    });
  }

  test("answers requests sent ahead in order, one at a time, then what node must answer", async () => {
    let atOnce = 0;
    await using server = new LanedServer(async (exchange) => {
      assert.equal(++atOnce, 1);
      await new Promise((done) => setImmediate(done));
      atOnce -= 1;
      echo(exchange);
    });
    using client = await server.client();
    client.socket.write(get("/1") + get("/2"));
    client.socket.write(`${get("/3")}PUT /4 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx`);
    const answers = await client.until("node");
    assert.deepEqual(answers.match(/(?<=\r\n\r\n)(?:lane GET \/\d|node)/g), [
      "lane GET /1",
      "lane GET /2",
      "lane GET /3",
      "node",
    ]);
    assert.deepEqual(server.seenByNode, ["PUT /4 x"]);
  });

  test("keeps the order where the answers to reads and node's follow within one turn", async () => {
    await using server = new LanedServer(echo);
    using client = await server.client();
    client.socket.write(`${get("/1")}${get("/2")}PUT /3 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx`);
    const answers = await client.until("\r\nnode");
    assert.deepEqual(answers.match(/(?<=\r\n\r\n)(?:lane GET \/\d|node)/g), ["lane GET /1", "lane GET /2", "node"]);
  });

  test("sends the answer before one that breaks off within the same turn", async () => {
    await using server = new LanedServer((exchange) => {
      if (exchange.path === "/whole") echo(exchange);
      else exchange.begin(200, ["Content-Length", "10"]).abort();
    });
    using client = await server.client();
    client.socket.write(get("/whole") + get("/broken"));
    await client.closed();
    assert.match(client.text, /lane GET \/whole!$/);
  });

  test("sends no body for HEAD and 304, and keeps the length that it was told", async () => {
    await using server = new LanedServer((exchange) => {
      if (exchange.path === "/same") exchange.send(304, ["ETag", '"a"'], "never");
      else exchange.send(200, ["content-length", "77"], exchange.method === "HEAD" ? "never" : undefined);
    });
    using client = await server.client();
    client.socket.write(
      `HEAD /h HTTP/1.1\r\nHost: a\r\n\r\n${get("/same")}HEAD /end HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`,
    );
    await client.closed();
    assert.equal(client.text.match(/content-length: 77/g)?.length, 2);
    assert.doesNotMatch(client.text, /never|Content-Length/);
    assert.match(client.text, /Connection: close\r\n\r\n$/);
  });

  test("sends a body in pieces and tells the handler when the client leaves", async () => {
    const left = Promise.withResolvers<unknown>();
    await using server = new LanedServer(async (exchange) => {
      const body = exchange.begin(200, ["Content-Length", "1000000"]);
      await body.write(Buffer.from("first"));
      exchange.signal.addEventListener("abort", () => left.resolve(exchange.signal.reason));
      const never = await body.write(Buffer.alloc(900_000)).then(() => body.write(Buffer.alloc(10)), String);
      if (never !== undefined) left.resolve(never);
    });
    using client = await server.client();
    client.socket.write(get("/"));
    await client.until("first");
    client.socket.pause();
    client.socket.resetAndDestroy();
    assert.match(String(await Promise.race([left.promise, deadline()])), /client went away/);
  });

  test("answers a client that has said all it will", async () => {
    await using server = new LanedServer(async (exchange) => {
      await new Promise((done) => setTimeout(done, 20));
      echo(exchange);
    });
    using client = await server.client();
    client.socket.end(get("/half"));
    await client.until("lane GET /half!");
    await client.closed();
  });

  test("does not let a header value end its field", async () => {
    const errors: unknown[] = [];
    await using server = new LanedServer((exchange) => {
      try {
        exchange.send(200, ["X-A", "1\r\nX-B: 2"]);
      } catch (error) {
        errors.push(error, exchange.status);
        exchange.send(500, []);
      }
    });
    using client = await server.client();
    client.socket.write(get("/"));
    assert.match(await client.until("\r\n\r\n"), /^HTTP\/1\.1 500 Internal Server Error\r\nContent-Length: 0\r\n/);
    assert.ok(errors[0] instanceof TypeError);
    assert.equal(errors[1], 0);
  });

  test("reads no further ahead than a client takes answers", async () => {
    let handled = 0;
    await using server = new LanedServer((exchange) => {
      handled += 1;
      exchange.send(200, [], Buffer.alloc(256 * 1024));
    });
    using client = await server.client();
    client.socket.pause();
    client.socket.write(get("/").repeat(400));
    let before = -1;
    while (handled !== before) {
      before = handled;
      await new Promise((done) => setTimeout(done, 200));
    }
    assert.ok(handled > 0 && handled < 200, `${handled} answers were made for a client that reads none`);
    let bytes = 0;
    client.socket.removeAllListeners("data").on("data", (chunk: string) => {
      bytes += chunk.length;
      client.text = bytes > 400 * 256 * 1024 ? "all" : "";
    });
    client.socket.resume();
    while (client.text !== "all") await Promise.race([once(client.socket, "data"), deadline()]);
    assert.equal(handled, 400);
  });

  test("closes idle connections when their time is over", async () => {
    const time = createManualTime(0);
    await using server = new LanedServer(echo, time);
    using silent = await server.client();
    using used = await server.client();
    used.socket.write(get("/"));
    await used.until("!");
    await time.advance(2_500);
    await silent.closed();
    assert.equal(used.ended, false);
    await time.advance(3_500);
    await used.closed();
  });

  test("ends each connection with its next answer once closed", async () => {
    const asked = Promise.withResolvers<Exchange>();
    await using server = new LanedServer((exchange) => asked.resolve(exchange));
    using busy = await server.client();
    using idle = await server.client();
    busy.socket.write(get("/last"));
    const exchange = await asked.promise;
    server.lane.close();
    await idle.closed();
    assert.equal(busy.ended, false);
    echo(exchange);
    assert.match(await busy.until("/last!"), /\r\nConnection: close\r\n/);
    await busy.closed();
  });
});
