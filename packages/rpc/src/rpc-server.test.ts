import assert from "node:assert/strict";
import { once } from "node:events";
import { afterEach, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Client, credentials, type ServiceError, status } from "@grpc/grpc-js";
import { type Logger, startTelemetry } from "@meridian/runtime";
import { linkV1, siteV1 } from "@meridian/wire";
import { trace } from "@opentelemetry/api";
import { createRpcChannel, type RpcChannel } from "./rpc-channel.ts";
import { createRpcServer, type RpcServer } from "./rpc-server.ts";

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };
const loopback = { host: "127.0.0.1", port: 0 };

function unimplemented(): never {
  throw new Error("not under test");
}

function registerSite(server: RpcServer, ping: () => Promise<object> = async () => ({ site: "eu" })): void {
  server.register(siteV1.SiteService, {
    ping,
    heartbeat: unimplemented,
    lookup: unimplemented,
    replication: unimplemented,
  });
}

describe("a server and its channels", () => {
  const stack: AsyncDisposable[] = [];
  afterEach(async () => {
    for (const resource of stack.reverse().splice(0)) await resource[Symbol.asyncDispose]();
  });

  function newServer(options: { drainTimeoutMs?: number } = {}): RpcServer {
    const server = createRpcServer({ log: silent, ...options });
    stack.push(server);
    return server;
  }
  function newChannel(address: string): RpcChannel {
    const channel = createRpcChannel({ address, log: silent });
    stack.push(channel);
    return channel;
  }

  it("refuses to offer a service twice, and gives no local client of what it does not offer", () => {
    const server = newServer();
    assert.equal(server.local(siteV1.SiteService), undefined);
    registerSite(server);
    assert.throws(() => registerSite(server), /registered already/);
    assert.notEqual(server.local(siteV1.SiteService), undefined);
  });

  it("listens on IPv6 too, and says which address is taken", async () => {
    const server = newServer();
    registerSite(server);
    const { address } = await server.listen({ host: "::1", port: 0 });
    assert.match(address, /^\[::1\]:\d+$/);
    assert.equal((await newChannel(address).client(siteV1.SiteService).ping({})).site, "eu");
    const port = Number(address.split("]:")[1]);
    await assert.rejects(newServer().listen({ host: "::1", port }), {
      message: `cannot listen on [::1]:${port}: the port is taken by another process`,
    });
  });

  it("fails at once when nobody listens, and finds a peer again soon after it was killed and came back", async () => {
    const first = createRpcServer({ log: silent, drainTimeoutMs: 0 });
    registerSite(first);
    const { address } = await first.listen(loopback);
    const site = newChannel(address).client(siteV1.SiteService);
    await site.ping({});
    await first[Symbol.asyncDispose]();
    const asked = performance.now();
    await assert.rejects(site.ping({}), { name: "ContentError", kind: "unavailable", message: new RegExp(address) });
    assert.ok(performance.now() - asked < 1_000);

    const second = newServer();
    registerSite(second);
    await second.listen({ host: "127.0.0.1", port: Number(address.split(":")[1]) });
    const back = performance.now();
    while (!(await site.ping({}).then(Boolean, () => false))) {
      assert.ok(performance.now() - back < 4_000, "not found again within 4 s");
      await sleep(20);
    }
  });

  it("lets unary calls in flight finish when it stops, and ends streams", async () => {
    const server = createRpcServer({ log: silent });
    const started = Promise.withResolvers<void>();
    const finish = Promise.withResolvers<object>();
    registerSite(server, () => {
      started.resolve();
      return finish.promise;
    });
    server.register(linkV1.LogTailService, {
      async *tail(requests) {
        yield { message: { case: "heartbeat", value: { head: 1n } } };
        for await (const _ of requests);
      },
    });
    const channel = newChannel((await server.listen(loopback)).address);
    const call = channel.client(siteV1.SiteService).ping({});
    const forever = (async function* () {
      yield {};
      await new Promise(() => {});
    })();
    const stream = channel.client(linkV1.LogTailService).tail(forever)[Symbol.asyncIterator]();
    await stream.next();
    await started.promise;
    const stopped = server[Symbol.asyncDispose]();
    await assert.rejects(stream.next(), { kind: "unavailable", message: "the process is stopping" });
    finish.resolve({ site: "last words" });
    assert.equal((await call).site, "last words");
    await stopped;
  });

  it("fails the calls in flight of a channel that is disposed", async () => {
    const server = newServer();
    const started = Promise.withResolvers<void>();
    registerSite(server, () => {
      started.resolve();
      return new Promise(() => {});
    });
    const channel = newChannel((await server.listen(loopback)).address);
    const failed = assert.rejects(channel.client(siteV1.SiteService).ping({}), { kind: "unavailable" });
    await started.promise;
    await channel[Symbol.asyncDispose]();
    await failed;
  });

  it("cuts what has not finished by the drain deadline", async () => {
    const server = createRpcServer({ log: silent, drainTimeoutMs: 50 });
    const started = Promise.withResolvers<void>();
    registerSite(server, () => {
      started.resolve();
      return new Promise(() => {});
    });
    const call = newChannel((await server.listen(loopback)).address)
      .client(siteV1.SiteService)
      .ping({});
    const failed = assert.rejects(call, { kind: "unavailable" });
    await started.promise;
    await server[Symbol.asyncDispose]();
    await failed;
  });

  it("lets megabytes travel ahead of reading in both directions", async () => {
    const chunk = 64 * 1024;
    let fromServer = 0;
    const server = newServer();
    server.register(linkV1.LogTailService, {
      async *tail(requests) {
        for await (const _ of requests) break;
        const payload = new Uint8Array(chunk);
        for (; fromServer < 1_000; fromServer++) {
          yield { message: { case: "batch", value: { entries: [{ payload }] } } };
        }
      },
    });
    const tail = newChannel((await server.listen(loopback)).address).client(linkV1.LogTailService);
    let fromClient = 0;
    const requests = (async function* () {
      const big = { message: { case: "hello" as const, value: { readerSite: "x".repeat(chunk) } } };
      for (; fromClient < 1_000; fromClient++) yield big;
    })();
    const stream = tail.tail(requests)[Symbol.asyncIterator]();
    await stream.next();
    // 64 KiB windows would let two of these out at either side, beside the few that wait in memory.
    const deadline = performance.now() + 3_000;
    while (fromServer < 100 || fromClient < 100) {
      assert.ok(performance.now() < deadline, `${fromServer} from the server, ${fromClient} from the client`);
      await sleep(5);
    }
    assert.ok(fromServer < 1_000 && fromClient < 1_000);
    await stream.return?.();
  });

  it("carries a sampled trace and makes no span without one", async () => {
    const spans: Array<{ name: string; kind: number; spanContext(): { traceId: string } }> = [];
    const exporter = {
      export(batch: typeof spans, done: (result: { code: number }) => void) {
        spans.push(...batch);
        done({ code: 0 });
      },
      shutdown: async () => {},
    };
    const who = { service: "site", site: "eu", process: "site", version: "0" };
    const telemetry = await startTelemetry({ ...who, sampleRatio: 1, exporter: exporter as never });
    const { startServerSpan, withSpan } = await import("@meridian/runtime");
    const tracer = trace.getTracer("test");
    const server = newServer();
    registerSite(server, () => withSpan(tracer, "inside", {}, () => ({})));
    const site = newChannel((await server.listen(loopback)).address).client(siteV1.SiteService);
    await site.ping({});
    const root = startServerSpan(tracer, "root", {});
    await root?.run(() => site.ping({}));
    root?.end();
    await telemetry.shutdown();
    const path = "meridian.site.v1.SiteService/Ping";
    assert.deepEqual(spans.map(({ name }) => name).sort(), ["inside", path, path, "root"].sort());
    assert.equal(new Set(spans.map((span) => span.spanContext().traceId)).size, 1);
  });
});

describe("grpc.health.v1.Health", () => {
  const identity = (bytes: Buffer): Buffer => bytes;
  /** HealthCheckRequest with a service name shorter than 128 bytes, by hand. */
  const request = (service: string): Buffer => Buffer.from([0x0a, service.length, ...Buffer.from(service)]);
  const SERVING = Buffer.from([0x08, 1]);
  const NOT_SERVING = Buffer.from([0x08, 2]);
  const SERVICE_UNKNOWN = Buffer.from([0x08, 3]);

  async function start() {
    const server = createRpcServer({ log: silent });
    registerSite(server);
    const { address } = await server.listen(loopback);
    const client = new Client(address, credentials.createInsecure());
    const check = (service: string): Promise<Buffer> =>
      new Promise((resolve, reject) => {
        client.makeUnaryRequest("/grpc.health.v1.Health/Check", identity, identity, request(service), (error, value) =>
          error === null ? resolve(value as Buffer) : reject(error),
        );
      });
    const watch = (service: string) =>
      client.makeServerStreamRequest("/grpc.health.v1.Health/Watch", identity, identity, request(service));
    return {
      server,
      check,
      watch,
      async [Symbol.asyncDispose]() {
        client.close();
        await server[Symbol.asyncDispose]();
      },
    };
  }

  it("answers for the process and each service, not serving until told", async () => {
    await using running = await start();
    assert.deepEqual(await running.check(""), NOT_SERVING);
    running.server.serving(true);
    assert.deepEqual(await running.check(""), SERVING);
    assert.deepEqual(await running.check("meridian.site.v1.SiteService"), SERVING);
    await assert.rejects(running.check("no.such"), (error: ServiceError) => error.code === status.NOT_FOUND);
  });

  it("tells watchers of every change, also of services that come later, and ends with the server", async () => {
    await using running = await start();
    const watch = running.watch("meridian.link.v1.LogTailService");
    const next = async (): Promise<Buffer> => ((await once(watch, "data")) as [Buffer])[0];
    assert.deepEqual(await next(), SERVICE_UNKNOWN);
    running.server.register(linkV1.LogTailService, { tail: unimplemented });
    assert.deepEqual(await next(), NOT_SERVING);
    running.server.serving(true);
    assert.deepEqual(await next(), SERVING);
    const ended = once(watch, "end");
    const last = next();
    await running.server[Symbol.asyncDispose]();
    assert.deepEqual(await last, NOT_SERVING);
    await ended;
  });
});
