import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { after, before, describe, test } from "node:test";
import { createManualTime, createSystemClock, systemTimers } from "@meridian/runtime";
import type { Exchange } from "../exchange.ts";
import { AnswerFields } from "./answer-fields.ts";
import { ErrorCode } from "./errors.ts";
import { Flag, type Frame, FrameType, frameOf, frameOfNumbers, Setting, settingsFrame } from "./frames.ts";
import { HpackDecoder } from "./hpack-decoder.ts";
import { encodeField } from "./hpack-encoder.ts";
import { Http2Connection } from "./http2-connection.ts";

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const clock = createSystemClock();

let server: Server;
/** What is done with the next requests. */
let handle: (exchange: Exchange) => void | Promise<void>;
let connections: Set<Http2Connection>;

before(async () => {
  connections = new Set();
  const parts = {
    heads: new AnswerFields(createManualTime(0).clock),
    clock,
    limits: { idleMs: 60_000, answerIdleMs: 60_000, discardMs: 1_000, timers: systemTimers },
    maxHeaderBytes: 32 * 1024,
    handle: (exchange: Exchange) => void handle(exchange),
    left: (connection: Http2Connection) => connections.delete(connection),
  };
  server = createServer((socket) => connections.add(new Http2Connection(socket, parts)));
  await once(server.listen(0, "127.0.0.1"), "listening");
});
after(() => server.close());

const echo = (exchange: Exchange): void => exchange.send(200, ["Content-Type", "text/plain"], `${exchange.path}!`);

/** A client that sends what it wants, frame by frame. */
class Client implements Disposable {
  readonly socket: Socket;
  readonly frames: Frame[] = [];
  ended = false;
  #bytes = Buffer.alloc(0);
  #changed = Promise.withResolvers<void>();
  readonly #hpack = new HpackDecoder({ maxListBytes: 1_000_000 });

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk: Buffer) => this.#read(chunk)).on("error", () => undefined);
    socket.on("close", () => {
      this.ended = true;
      this.#changed.resolve();
    });
  }

  /** With settings sent, and the server's taken. */
  static async open(settings: ReadonlyArray<readonly [number, number]> = []): Promise<Client> {
    const client = await Client.raw();
    client.send(PREFACE, settingsFrame(settings));
    await client.next(FrameType.settings);
    await client.next(FrameType.settings);
    return client;
  }

  static async raw(): Promise<Client> {
    const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
    await once(socket, "connect");
    return new Client(socket);
  }

  send(...parts: readonly Uint8Array[]): void {
    this.socket.write(Buffer.concat(parts));
  }

  /** The next frame of a type; those before it are dropped. */
  async next(type: number): Promise<Frame> {
    const deadline = AbortSignal.timeout(5_000);
    for (;;) {
      const frame = this.frames.shift();
      if (frame?.type === type) return frame;
      if (frame !== undefined) continue;
      if (this.ended || deadline.aborted) throw new Error(`no frame of type ${type} came`);
      await Promise.race([this.#changed.promise, once(deadline, "abort")]);
    }
  }

  /** The fields of the next head, and the stream. */
  async head(): Promise<{ id: number; fields: Map<string, string>; isLast: boolean }> {
    const { streamId, payload, flags } = await this.next(FrameType.headers);
    const fields = new Map(this.#hpack.decode(payload));
    return { id: streamId, fields, isLast: (flags & Flag.endStream) !== 0 };
  }

  /** The code with which the server ends the connection. */
  async goAway(): Promise<number> {
    const { payload } = await this.next(FrameType.goaway);
    while (!this.ended) await this.#changed.promise;
    return payload.readUInt32BE(4);
  }

  async reset(): Promise<{ id: number; code: number }> {
    const { streamId, payload } = await this.next(FrameType.rstStream);
    return { id: streamId, code: payload.readUInt32BE(0) };
  }

  #read(chunk: Buffer): void {
    this.#bytes = Buffer.concat([this.#bytes, chunk]);
    for (;;) {
      if (this.#bytes.length < 9) break;
      const end = 9 + this.#bytes.readUIntBE(0, 3);
      if (this.#bytes.length < end) break;
      const [type, flags] = [this.#bytes[3]!, this.#bytes[4]!];
      const streamId = this.#bytes.readUInt32BE(5);
      this.frames.push({ type, flags, streamId, payload: this.#bytes.subarray(9, end) });
      this.#bytes = this.#bytes.subarray(end);
    }
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}

type Fields = ReadonlyArray<readonly [string, string]>;
const PSEUDO: Fields = [
  [":method", "GET"],
  [":scheme", "https"],
  [":path", "/a?b=c"],
  [":authority", "x"],
];
const block = (fields: Fields): Buffer => Buffer.concat(fields.map(([name, value]) => encodeField(name, value)));
const get = (id: number, fields: Fields = PSEUDO, flags: number = Flag.endStream): Buffer =>
  frameOf(FrameType.headers, flags | Flag.endHeaders, id, block(fields));
const post = (id: number, ...more: Fields): Buffer => get(id, [[":method", "POST"], ...PSEUDO.slice(1), ...more], 0);
const data = (id: number, text: string, flags = 0): Buffer => frameOf(FrameType.data, flags, id, Buffer.from(text));

describe("a connection of HTTP/2", () => {
  test("answers each request on its stream", async () => {
    handle = echo;
    using client = await Client.open();
    client.send(get(1), get(3, [...PSEUDO.slice(0, 2), [":path", "/b"], [":authority", "x"]]));
    for (const [id, body] of [
      [1, "/a!"],
      [3, "/b!"],
    ] as const) {
      const head = await client.head();
      assert.deepEqual([head.id, head.isLast], [id, false]);
      assert.deepEqual(Object.fromEntries(head.fields), {
        ":status": "200",
        "content-type": "text/plain",
        "content-length": "3",
        date: "Thu, 01 Jan 1970 00:00:00 GMT",
      });
      const { payload, flags } = await client.next(FrameType.data);
      assert.deepEqual([payload.toString(), flags], [body, Flag.endStream]);
    }
  });

  test("gives what a request says", async () => {
    const { promise, resolve } = Promise.withResolvers<Exchange>();
    handle = resolve;
    using client = await Client.open();
    client.send(
      get(1, [...PSEUDO, ["x-a", "1"], ["x-a", "2"], ["cookie", "a=b"], ["cookie", "c=d"], ["range", "bytes=0-"]]),
    );
    const exchange = await promise;
    const { method, path, query, host, hasBody, bodyLength } = exchange;
    assert.deepEqual(
      { method, path, query, host, hasBody, bodyLength },
      {
        ...{ method: "GET", path: "/a", query: "b=c", host: "x" },
        ...{ hasBody: false, bodyLength: undefined },
      },
    );
    assert.deepEqual(
      ["x-a", "cookie", "range", "absent"].map((name) => exchange.header(name)),
      [...["1, 2", "a=b; c=d", "bytes=0-"], undefined],
    );
  });

  test("sends no more than the windows allow, and goes on when they grow", async () => {
    const body = Buffer.alloc(70_000, 7);
    handle = (exchange) => exchange.send(200, [], body);
    using client = await Client.open([[Setting.initialWindowSize, 10]]);
    client.send(get(1));
    const first = await client.next(FrameType.data);
    assert.equal(first.payload.length, 10);
    client.send(frameOfNumbers(FrameType.windowUpdate, 1, 69_990));
    let bytes = 10;
    while (bytes < 65_535) bytes += (await client.next(FrameType.data)).payload.length;
    assert.equal(bytes, 65_535, "the connection's window");
    client.send(frameOfNumbers(FrameType.windowUpdate, 0, 100_000));
    const last = await client.next(FrameType.data);
    assert.deepEqual([last.payload.length, last.flags], [70_000 - 65_535, Flag.endStream]);
  });

  test("shares the connection's window among streams", async () => {
    const body = Buffer.alloc(40_000);
    handle = (exchange) => exchange.send(200, [], body);
    using client = await Client.open();
    client.send(get(1), get(3));
    const streams: number[] = [];
    for (let i = 0; i < 4; i++) streams.push((await client.next(FrameType.data)).streamId);
    assert.deepEqual(streams, [1, 3, 1, 3]);
  });

  test("takes a body that is larger than its window, as it is read", async () => {
    const size = 20 * 1024 * 1024;
    handle = async (exchange) => {
      let bytes = 0;
      for await (const chunk of exchange.body()) bytes += chunk.length;
      exchange.send(201, [], String(bytes));
    };
    using client = await Client.open();
    client.send(post(1, ["content-length", String(size)]));
    let window = 8 * 1024 * 1024;
    for (let left = size; left > 0; ) {
      while (window < 16_384) {
        const { streamId, payload } = await client.next(FrameType.windowUpdate);
        if (streamId === 1) window += payload.readUInt32BE(0);
      }
      const length = Math.min(left, 16_384);
      left -= length;
      window -= length;
      client.send(frameOf(FrameType.data, left === 0 ? Flag.endStream : 0, 1, Buffer.alloc(length)));
    }
    assert.equal((await client.next(FrameType.data)).payload.toString(), String(size));
  });

  test("answers early on a body, tells the client to stop, and goes on", async () => {
    handle = (exchange) => (exchange.hasBody ? exchange.send(401, []) : echo(exchange));
    using client = await Client.open();
    client.send(post(1), data(1, "ignored"));
    assert.deepEqual((await client.head()).fields.get(":status"), "401");
    assert.deepEqual(await client.reset(), { id: 1, code: ErrorCode.none });
    client.send(data(1, "still under way"), get(3));
    assert.equal((await client.head()).id, 3);
  });

  test("takes no more of a body than its window holds", async () => {
    handle = () => undefined;
    using client = await Client.open();
    const full = Array.from({ length: 512 }, () => frameOf(FrameType.data, 0, 1, Buffer.alloc(16_384)));
    client.send(post(1), ...full, data(1, "x"));
    assert.deepEqual(await client.reset(), { id: 1, code: ErrorCode.flowControl });
  });

  test("tells a handler when its client goes away", async () => {
    const { promise, resolve } = Promise.withResolvers<Exchange>();
    handle = resolve;
    using client = await Client.open();
    client.send(get(1));
    const exchange = await promise;
    const aborted = once(exchange.signal, "abort");
    client.send(frameOfNumbers(FrameType.rstStream, 1, ErrorCode.cancel));
    await aborted;
    await assert.rejects(exchange.begin(200, []).write(Buffer.from("x")), /the client went away/);
  });

  test("puts heads in several frames together", async () => {
    handle = echo;
    using client = await Client.open();
    const whole = block([...PSEUDO, ["x-long", "a".repeat(20_000)]]);
    client.send(
      frameOf(FrameType.headers, Flag.endStream, 1, whole.subarray(0, 3)),
      frameOf(FrameType.continuation, 0, 1, whole.subarray(3, 16_000)),
      frameOf(FrameType.continuation, Flag.endHeaders, 1, whole.subarray(16_000)),
    );
    assert.equal((await client.head()).fields.get(":status"), "200");
  });

  test("answers 431 to fields that are too many, and goes on", async () => {
    handle = echo;
    using client = await Client.open();
    const entry = Buffer.concat([
      Buffer.from("4003782d61", "hex"),
      Buffer.from("7fa11e", "hex"),
      Buffer.alloc(4_000, 97),
    ]);
    // One entry of the table, asked for again and again.
    client.send(
      frameOf(
        FrameType.headers,
        Flag.endStream | Flag.endHeaders,
        1,
        Buffer.concat([block(PSEUDO), entry, Buffer.alloc(50, 0xbe)]),
      ),
    );
    assert.equal((await client.head()).fields.get(":status"), "431");
    client.send(get(3));
    assert.equal((await client.head()).fields.get(":status"), "200");
  });

  test("tells a client with a smaller table that none is used", async () => {
    handle = echo;
    using client = await Client.open([[Setting.headerTableSize, 0]]);
    client.send(get(1));
    assert.equal((await client.next(FrameType.headers)).payload[0], 0x20);
  });

  test("is closed with its last answer", async () => {
    const { promise, resolve } = Promise.withResolvers<Exchange>();
    handle = resolve;
    using client = await Client.open();
    client.send(get(1));
    const exchange = await promise;
    for (const connection of connections) connection.close();
    assert.equal((await client.next(FrameType.goaway)).payload.readUInt32BE(0), 1);
    client.send(get(3));
    assert.deepEqual(await client.reset(), { id: 3, code: ErrorCode.refusedStream });
    echo(exchange);
    assert.equal((await client.next(FrameType.data)).payload.toString(), "/a!");
    while (!client.ended) await once(client.socket, "close");
  });
});

describe("a malformed request", () => {
  const malformed: Record<string, Fields> = {
    "without a path": [PSEUDO[0]!, PSEUDO[1]!],
    "with an empty path": [...PSEUDO.slice(0, 2), [":path", ""]],
    "with two paths": [...PSEUDO, [":path", "/b"]],
    "with a pseudo-field behind others": [...PSEUDO.slice(1), ["x-a", "1"], PSEUDO[0]!],
    "with a pseudo-field of answers": [...PSEUDO, [":status", "200"]],
    "with a name in capitals": [...PSEUDO, ["X-A", "1"]],
    "with a space in a name": [...PSEUDO, ["x a", "1"]],
    "with a line end in a value": [...PSEUDO, ["x-a", "1\r\nx-b: 2"]],
    "with a nul in a value": [...PSEUDO, ["x-a", "\0"]],
    "with a space around a value": [...PSEUDO, ["x-a", " 1"]],
    "with a field of connections": [...PSEUDO, ["connection", "close"]],
    "with chunks": [...PSEUDO, ["transfer-encoding", "chunked"]],
    "with other trailers than HTTP/2 has": [...PSEUDO, ["te", "gzip"]],
    "with two logins": [...PSEUDO, ["authorization", "a"], ["authorization", "b"]],
    "with another host": [...PSEUDO, ["host", "y"]],
    "with a length that is none": [...PSEUDO, ["content-length", "+1"]],
    "with a length and no body": [...PSEUDO, ["content-length", "1"]],
    "with a space in its path": [...PSEUDO.slice(0, 2), [":path", "/a b"]],
    "with another host's path": [...PSEUDO.slice(0, 2), [":path", "https://y/"]],
  };
  for (const [what, fields] of Object.entries(malformed))
    test(`${what} reaches nobody, and the connection goes on`, async () => {
      handle = (exchange) => (exchange.header("x-good") === undefined ? assert.fail("it was handled") : echo(exchange));
      using client = await Client.open();
      client.send(get(1, fields), get(3, [...PSEUDO, ["x-good", "1"]]));
      assert.deepEqual(await client.reset(), { id: 1, code: ErrorCode.protocol });
      assert.equal((await client.head()).id, 3);
    });

  const bodies: Record<string, Buffer[]> = {
    "longer than declared": [post(1, ["content-length", "3"]), data(1, "abcd")],
    "shorter than declared": [post(1, ["content-length", "3"]), data(1, "ab", Flag.endStream)],
    "shorter than declared, with trailers": [
      ...[post(1, ["content-length", "3"]), data(1, "ab")],
      get(1, [["x-checksum", "1"]]),
    ],
  };
  for (const [what, frames] of Object.entries(bodies))
    test(`whose body is ${what} never looks whole`, async () => {
      const { promise: failed, resolve } = Promise.withResolvers<unknown>();
      handle = async (exchange) => {
        try {
          for await (const _ of exchange.body());
          resolve(undefined);
        } catch (error) {
          resolve(error);
        }
      };
      using client = await Client.open();
      client.send(...frames);
      assert.deepEqual(await client.reset(), { id: 1, code: ErrorCode.protocol });
      assert.match(String(await failed), /broke off/);
    });
});

describe("a connection of HTTP/2 is ended by", () => {
  const frame = frameOf;
  const E = ErrorCode;
  const endings: Record<string, [code: number, ...frames: Buffer[]]> = {
    "a frame that is too long": [E.frameSize, frame(FrameType.data, 0, 1, Buffer.alloc(16_385))],
    "a body without a head": [E.protocol, data(1, "x")],
    "a body of the connection": [E.protocol, data(0, "x")],
    "a head of the connection": [E.protocol, get(0)],
    "a stream of the server's": [E.protocol, get(2)],
    "a broken field block": [E.compression, frame(FrameType.headers, Flag.endHeaders, 1, Buffer.of(0xff))],
    "a head that is interrupted": [E.protocol, get(1, PSEUDO, 0).fill(0, 4, 5), data(1, "x")],
    "a continuation of nothing": [E.protocol, frame(FrameType.continuation, Flag.endHeaders, 1)],
    "a head without end": [
      E.enhanceYourCalm,
      frame(FrameType.headers, 0, 1),
      ...Array.from({ length: 20 }, () => frame(FrameType.continuation, 0, 1)),
    ],
    "more padding than payload": [E.protocol, post(1), frame(FrameType.data, Flag.padded, 1, Buffer.of(5, 0, 0))],
    "a push": [E.protocol, frame(FrameType.pushPromise, 0, 1, Buffer.alloc(4))],
    "settings that are cut off": [E.frameSize, frame(FrameType.settings, 0, 0, Buffer.alloc(5))],
    "settings of a stream": [E.protocol, frame(FrameType.settings, 0, 1)],
    "settings in an acknowledgement": [E.frameSize, frame(FrameType.settings, Flag.ack, 0, Buffer.alloc(6))],
    "a window beyond all bounds": [E.flowControl, settingsFrame([[Setting.initialWindowSize, 2 ** 31]])],
    "frames too small": [E.protocol, settingsFrame([[Setting.maxFrameSize, 16_383]])],
    "a short ping": [E.frameSize, frame(FrameType.ping, 0, 0, Buffer.alloc(7))],
    "a ping of a stream": [E.protocol, frame(FrameType.ping, 0, 1, Buffer.alloc(8))],
    "a window that grows by nothing": [E.protocol, frameOfNumbers(FrameType.windowUpdate, 0, 0)],
    "a window that overflows": [E.flowControl, frameOfNumbers(FrameType.windowUpdate, 0, 2 ** 31 - 1)],
    "the window of a stream that has not begun": [E.protocol, frameOfNumbers(FrameType.windowUpdate, 1, 1)],
    "the end of a stream that has not begun": [E.protocol, frameOfNumbers(FrameType.rstStream, 1, 8)],
    "a stream that depends on itself": [E.protocol, frame(FrameType.priority, 0, 1, Buffer.of(0, 0, 0, 1, 0))],
    "a flood of pings": [
      E.enhanceYourCalm,
      ...Array.from({ length: 1_200 }, () => frame(FrameType.ping, 0, 0, Buffer.alloc(8))),
    ],
    "a flood of streams that are given up at once": [
      E.enhanceYourCalm,
      ...Array.from({ length: 1_200 }, (_, at) =>
        Buffer.concat([get(2 * at + 1), frameOfNumbers(FrameType.rstStream, 2 * at + 1, E.cancel)]),
      ),
    ],
    "a flood of empty pieces": [E.enhanceYourCalm, post(1), ...Array.from({ length: 1_200 }, () => data(1, ""))],
  };
  for (const [what, [code, ...frames]] of Object.entries(endings))
    test(what, async () => {
      handle = () => undefined;
      using client = await Client.open();
      client.send(...frames);
      assert.equal(await client.goAway(), code);
    });

  test("another beginning than the preface", async () => {
    using client = await Client.raw();
    client.send(Buffer.from("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
    assert.equal(await client.goAway(), ErrorCode.protocol);
  });

  test("another first frame than the settings", async () => {
    using client = await Client.raw();
    client.send(PREFACE, frameOf(FrameType.ping, 0, 0, Buffer.alloc(8)));
    assert.equal(await client.goAway(), ErrorCode.protocol);
  });
});
