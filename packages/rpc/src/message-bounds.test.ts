import assert from "node:assert/strict";
import { connect, constants } from "node:http2";
import { test } from "node:test";
import type { Logger } from "@meridian/runtime";
import { siteV1 } from "@meridian/wire";
import { MAX_MESSAGE_BYTES } from "./limits.ts";
import { createRpcChannel } from "./rpc-channel.ts";
import { createRpcServer } from "./rpc-server.ts";
import type { ServiceImpl } from "./service.ts";

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };

async function serve() {
  let pings = 0;
  const unexpected = (): never => {
    throw new Error("not under test");
  };
  const site: ServiceImpl<typeof siteV1.SiteService> = {
    ping: async () => {
      pings += 1;
      return {};
    },
    heartbeat: unexpected,
    lookup: unexpected,
    replication: unexpected,
  };
  const server = createRpcServer({ log: silent });
  server.register(siteV1.SiteService, site);
  const { address } = await server.listen({ host: "127.0.0.1", port: 0 });
  const channel = createRpcChannel({ address, log: silent });
  return {
    address,
    site: channel.client(siteV1.SiteService),
    pings: () => pings,
    async [Symbol.asyncDispose]() {
      await channel[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

/** A call as another implementation may send it: a frame of gRPC over HTTP/2. Answers its grpc-status. */
function callRaw(address: string, frame: Buffer): Promise<string> {
  return new Promise((resolve, reject) => {
    const session = connect(`http://${address}`);
    session.on("error", reject);
    const stream = session.request({
      [constants.HTTP2_HEADER_METHOD]: "POST",
      [constants.HTTP2_HEADER_PATH]: `/${siteV1.SiteService.typeName}/Ping`,
      "content-type": "application/grpc",
      te: "trailers",
    });
    const answered = (headers: Record<string, unknown>): void => {
      if (headers["grpc-status"] === undefined) return;
      resolve(String(headers["grpc-status"]));
      session.destroy();
    };
    stream.on("response", answered).on("trailers", answered).on("error", reject).resume();
    stream.end(frame);
  });
}

function frame(length: number, body: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, body]);
}

const RESOURCE_EXHAUSTED = "8";

test("a message that says it is larger than the bound is refused before it is read", async () => {
  await using served = await serve();
  assert.equal(await callRaw(served.address, frame(MAX_MESSAGE_BYTES + 1, Buffer.alloc(100))), RESOURCE_EXHAUSTED);
  assert.equal(await callRaw(served.address, frame(0xffffffff, Buffer.alloc(100))), RESOURCE_EXHAUSTED);
  assert.equal(served.pings(), 0);
  await served.site.ping({});
  assert.equal(served.pings(), 1, "others are served");
});

test("bytes that are no message are refused, and hurt nobody else", async () => {
  await using served = await serve();
  for (const bytes of [
    Buffer.alloc(50, 0xff),
    Buffer.from([0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
    Buffer.alloc(9, 0x80),
  ]) {
    assert.notEqual(await callRaw(served.address, frame(bytes.length, bytes)), "0", bytes.toString("hex"));
  }
  assert.equal(served.pings(), 0);
  await served.site.ping({});
  assert.equal(served.pings(), 1);
});
