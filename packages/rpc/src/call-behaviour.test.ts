import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { ContentError, ContentErrorKind } from "@meridian/oci";
import type { Logger } from "@meridian/runtime";
import { linkV1, siteV1 } from "@meridian/wire";
import { createRpcChannel } from "./rpc-channel.ts";
import { createRpcServer, type RpcServer } from "./rpc-server.ts";
import type { CallContext, ServiceClient, ServiceImpl } from "./service.ts";

type Site = ServiceClient<typeof siteV1.SiteService>;
type Tail = ServiceClient<typeof linkV1.LogTailService>;
type TailInit = MessageInitShape<typeof linkV1.TailResponseSchema>;
type Requests = AsyncIterable<linkV1.TailRequest>;

const silent: Logger = { debug() {}, info() {}, warn() {}, error() {}, child: () => silent };

interface Callers extends AsyncDisposable {
  readonly site: Site;
  readonly tail: Tail;
}

/** What the implementations under test do; each test sets the ones that it calls. */
interface Behaviour {
  ping(request: siteV1.PingRequest, context: CallContext): Promise<MessageInitShape<typeof siteV1.PingResponseSchema>>;
  tail(requests: Requests, context: CallContext): AsyncIterable<TailInit>;
}

async function startServer(behaviour: Partial<Behaviour>, errors: unknown[]): Promise<RpcServer> {
  const unexpected = (): never => {
    throw new Error("not under test");
  };
  const site: ServiceImpl<typeof siteV1.SiteService> = {
    ping: behaviour.ping ?? unexpected,
    heartbeat: unexpected,
    lookup: unexpected,
    replication: unexpected,
  };
  const log: Logger = { ...silent, error: (_message, fields) => errors.push(fields?.error), child: () => log };
  const server = createRpcServer({ log });
  server.register(siteV1.SiteService, site);
  server.register(linkV1.LogTailService, { tail: behaviour.tail ?? unexpected });
  return server;
}

async function localCallers(server: RpcServer): Promise<Callers> {
  return {
    site: server.local(siteV1.SiteService) as Site,
    tail: server.local(linkV1.LogTailService) as Tail,
    async [Symbol.asyncDispose]() {},
  };
}

async function remoteCallers(server: RpcServer): Promise<Callers> {
  const { address } = await server.listen({ host: "127.0.0.1", port: 0 });
  const channel = createRpcChannel({ address, log: silent });
  return {
    site: channel.client(siteV1.SiteService),
    tail: channel.client(linkV1.LogTailService),
    [Symbol.asyncDispose]: () => channel[Symbol.asyncDispose](),
  };
}

async function until(condition: () => boolean): Promise<void> {
  const deadline = performance.now() + 2_000;
  while (!condition()) {
    assert.ok(performance.now() < deadline, "condition not met within 2 s");
    await sleep(2);
  }
}

const heartbeat = (head: bigint): TailInit => ({ message: { case: "heartbeat", value: { head } } });
const hello = { message: { case: "hello" as const, value: { readerSite: "us" } } };
const headOf = (response: linkV1.TailResponse): bigint | undefined =>
  response.message.case === "heartbeat" ? response.message.value.head : undefined;
/** Requests that stay open until they are returned. */
async function* openRequests(signal?: AbortSignal): AsyncGenerator<typeof hello> {
  yield hello;
  await new Promise<void>((resolve) => signal?.addEventListener("abort", () => resolve()));
}

function suite(name: string, connect: (server: RpcServer) => Promise<Callers>): void {
  describe(name, () => {
    let behaviour: Partial<Behaviour>;
    let errors: unknown[];
    let server: RpcServer;
    let callers: Callers;

    async function start(next: Partial<Behaviour>): Promise<Callers> {
      Object.assign(behaviour, next);
      server = await startServer(behaviour, errors);
      callers = await connect(server);
      return callers;
    }
    beforeEach(() => {
      behaviour = {};
      errors = [];
    });
    afterEach(async () => {
      await callers[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    });

    it("answers a unary call with whole messages", async () => {
      const { site } = await start({
        ping: async ({ fromSite }, { peer }) => ({ site: `eu<${fromSite}>${peer?.site ?? ""}`, nowMs: 5n }),
      });
      const response = await site.ping({ fromSite: "us" });
      assert.equal(response.site, "eu<us>");
      assert.equal(response.nowMs, 5n);
      assert.deepEqual(response.failing, []);
      assert.equal(response.$typeName, "meridian.site.v1.PingResponse");
    });

    for (const kind of Object.values(ContentErrorKind)) {
      it(`carries ${kind} from a unary call and from a stream`, async () => {
        const { site, tail } = await start({
          ping: async () => {
            throw new ContentError(kind, "said the server: ä");
          },
          async *tail() {
            yield heartbeat(1n);
            throw new ContentError(kind, "said the stream");
          },
        });
        await assert.rejects(site.ping({}), { name: "ContentError", kind, message: "said the server: ä" });
        const stream = tail.tail(openRequests())[Symbol.asyncIterator]();
        assert.equal(headOf((await stream.next()).value), 1n);
        await assert.rejects(stream.next(), { name: "ContentError", kind, message: "said the stream" });
      });
    }

    it("says nothing of an unexpected error but logs it", async () => {
      const { site, tail } = await start({
        ping: async () => {
          throw new TypeError("path /srv/internal");
        },
        // biome-ignore lint/correctness/useYield: fails before its first answer
        async *tail() {
          throw new TypeError("path /srv/internal");
        },
      });
      const isVague = (error: unknown) =>
        error instanceof ContentError && error.kind === "unavailable" && !error.message.includes("/srv");
      await assert.rejects(site.ping({}), isVague);
      await assert.rejects(Array.fromAsync(tail.tail(openRequests())), isVague);
      assert.equal(errors.filter((error) => error instanceof TypeError).length, 2);
    });

    it("ends a unary call at its deadline, at both ends", async () => {
      let seen: AbortSignal | undefined;
      const { site } = await start({
        ping: async (_request, { signal }) => {
          seen = signal;
          return new Promise(() => {});
        },
      });
      await assert.rejects(site.ping({}, { timeoutMs: 50 }), {
        kind: "unavailable",
        message: /no answer within 50 ms/,
      });
      await until(() => seen?.aborted === true);
    });

    it("ends a unary call when the caller aborts, at both ends", async () => {
      let seen: AbortSignal | undefined;
      const { site } = await start({
        ping: async (_request, { signal }) => {
          seen = signal;
          return new Promise(() => {});
        },
      });
      const controller = new AbortController();
      const call = site.ping({}, { signal: controller.signal });
      await until(() => seen !== undefined);
      const reason = new Error("enough");
      controller.abort(reason);
      await assert.rejects(call, (error) => error === reason);
      await until(() => seen?.aborted === true);
      await assert.rejects(site.ping({}, { signal: controller.signal }), (error) => error === reason);
    });

    it("streams both ways at once", async () => {
      const { tail } = await start({
        async *tail(requests) {
          for await (const { message } of requests) {
            if (message.case === "report") yield heartbeat(message.value.copied?.sequence ?? 0n);
          }
        },
      });
      async function* reports() {
        yield hello;
        for (let n = 1n; n <= 100n; n++)
          yield { message: { case: "report" as const, value: { copied: { sequence: n } } } };
      }
      const heads = await Array.fromAsync(tail.tail(reports()), headOf);
      assert.deepEqual(
        heads,
        Array.from({ length: 100 }, (_, i) => BigInt(i + 1)),
      );
    });

    it("carries bytes as they are", async () => {
      const payload = new Uint8Array(100_000).map((_, i) => i);
      const { tail } = await start({
        async *tail() {
          yield {
            message: { case: "batch", value: { entries: [{ sequence: 1n, subject: "m.eu", payload }], head: 1n } },
          };
        },
      });
      const [response] = await Array.fromAsync(tail.tail(openRequests()));
      assert.deepEqual(
        response?.message,
        create(linkV1.TailResponseSchema, {
          message: { case: "batch", value: { entries: [{ sequence: 1n, subject: "m.eu", payload }], head: 1n } },
        }).message,
      );
    });

    it("ends the caller's requests when the server ends", async () => {
      let returned = false;
      async function* requests() {
        try {
          for (;;) {
            yield hello;
            await sleep(1);
          }
        } finally {
          returned = true;
        }
      }
      const { tail } = await start({
        async *tail(received) {
          for await (const _ of received) {
            yield heartbeat(1n);
            return;
          }
        },
      });
      assert.equal((await Array.fromAsync(tail.tail(requests()))).length, 1);
      await until(() => returned);
    });

    it("cancels the call when the caller leaves the iteration", async () => {
      let seen: AbortSignal | undefined;
      let ended = false;
      const { tail } = await start({
        async *tail(_requests, { signal }) {
          seen = signal;
          try {
            for (let n = 1n; ; n++) {
              yield heartbeat(n);
              await sleep(1, undefined, { signal });
            }
          } finally {
            ended = true;
          }
        },
      });
      for await (const response of tail.tail(openRequests())) if (headOf(response) === 3n) break;
      await until(() => seen?.aborted === true && ended);
      assert.deepEqual(errors, []);
    });

    it("ends an idle stream when the caller aborts, at both ends", async () => {
      let seen: AbortSignal | undefined;
      const { tail } = await start({
        async *tail(requests, { signal }) {
          seen = signal;
          yield heartbeat(1n);
          for await (const _ of requests);
        },
      });
      const controller = new AbortController();
      const reason = new Error("enough");
      const stream = tail.tail(openRequests(), { signal: controller.signal })[Symbol.asyncIterator]();
      await stream.next();
      const next = stream.next();
      controller.abort(reason);
      await assert.rejects(next, (error) => error === reason);
      await until(() => seen?.aborted === true);
      assert.deepEqual(errors, []);
    });

    it("ends a stream at its deadline", async () => {
      const { tail } = await start({
        async *tail(requests) {
          yield heartbeat(1n);
          for await (const _ of requests);
        },
      });
      const stream = tail.tail(openRequests(), { timeoutMs: 50 });
      await assert.rejects(Array.fromAsync(stream), { kind: "unavailable", message: /no answer within 50 ms/ });
    });

    it("throws what the caller's own requests throw", async () => {
      const { tail } = await start({
        async *tail(requests) {
          for await (const _ of requests) yield heartbeat(1n);
        },
      });
      async function* failing() {
        yield hello;
        throw new ContentError("fenced", "the reader lost its lease");
      }
      await assert.rejects(Array.fromAsync(tail.tail(failing())), {
        kind: "fenced",
        message: "the reader lost its lease",
      });
    });

    it("holds the server back while the caller does not read", async () => {
      let produced = 0;
      const payload = new Uint8Array(1024 * 1024);
      const { tail } = await start({
        async *tail() {
          for (; produced < 100; produced++) {
            yield { message: { case: "batch", value: { entries: [{ payload }], head: 0n } } };
          }
        },
      });
      const stream = tail.tail(openRequests())[Symbol.asyncIterator]();
      await stream.next();
      let before = -1;
      while (before !== produced) {
        before = produced;
        await sleep(50);
      }
      assert.ok(produced < 70, `${produced} MiB were produced for one that was read`);
      await stream.return?.();
    });

    it("holds the caller back while the server does not read", async () => {
      let produced = 0;
      const big = { message: { case: "hello" as const, value: { readerSite: "x".repeat(1024 * 1024) } } };
      async function* requests() {
        for (; produced < 100; produced++) yield big;
      }
      const { tail } = await start({
        async *tail(received) {
          for await (const _ of received) {
            yield heartbeat(1n);
            await new Promise(() => {});
          }
        },
      });
      const stream = tail.tail(requests())[Symbol.asyncIterator]();
      await stream.next();
      const next = stream.next();
      next.catch(() => {});
      let before = -1;
      while (before !== produced) {
        before = produced;
        await sleep(50);
      }
      assert.ok(produced < 70, `${produced} MiB were produced for one that was read`);
    });
  });
}

suite("a call inside the process", localCallers);
suite("a call over gRPC", remoteCallers);
