import { once } from "node:events";
import { createServer as createHttpServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createHttpsServer, type Server as HttpsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { ContentError, type Digest, isContentError, parseDigest } from "@meridian/oci";
import { followTlsSource, serverTlsOptions } from "@meridian/pki";
import {
  type Clock,
  createSystemClock,
  type IdentifyPeer,
  type Logger,
  type PeerIdentity,
  systemTimers,
  type Timers,
  type TlsSource,
} from "@meridian/runtime";
import type { ByteExchange } from "./byte-exchange.ts";
import { BLOBS_PATH, ByteHeader, PROTOCOL_VERSION, statusOf, UPLOADS_PATH } from "./byte-protocol.ts";
import type { NodeBytes } from "./node-bytes.ts";
import { PeerOfSocket } from "./peer-of-socket.ts";
import { serveAppend } from "./serve-append.ts";
import { serveBlob } from "./serve-blob.ts";
import { contextOf, inSpan } from "./trace-context.ts";

/** What a peer wants to do. */
export type ByteAction = "read" | "append";

/** What {@link startByteServer} needs. */
export interface ByteServerOptions {
  readonly node: NodeBytes;
  /** Absent: plain HTTP, for tests. */
  readonly tls?: TlsSource;
  /** Needed with `tls`. */
  readonly identify?: IdentifyPeer;
  /** Whether a peer may do this; the peer is undefined only over plain HTTP. */
  readonly allow: (peer: PeerIdentity | undefined, action: ByteAction) => boolean;
  /** Whether a peer may read this blob, asked when it may read at all. Absent: yes. @throws ContentError when that is not known. */
  readonly mayRead?: (peer: PeerIdentity | undefined, digest: Digest) => boolean | Promise<boolean>;
  /** Whether the node fetches for a peer what it does not hold; for others it answers from its own store. Absent: yes. */
  readonly mayFetch?: (peer: PeerIdentity | undefined) => boolean;
  readonly host: string;
  /** 0 for any free one. */
  readonly port: number;
  readonly log: Logger;
  readonly clock?: Clock;
  readonly timers?: Timers;
  /** A body that makes no progress for so long is ended; milliseconds, default 60 000. */
  readonly bodyIdleMs?: number;
  /** How long a stop waits for answers under way; milliseconds, default 10 000. */
  readonly stopGraceMs?: number;
}

/** A listener of the byte protocol. Disposing stops it: no new requests, those under way end or are cut after the grace. */
export interface ByteServer extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  /** Origin: https://host:port, or http:// without TLS. */
  readonly url: string;
}

// An unwanted body is read away for so long, so that its sender sees the answer before the connection closes.
const DISCARD_BODY_MS = 30_000;

/** Listens; rejects when the address is taken. */
export async function startByteServer(options: ByteServerOptions): Promise<ByteServer> {
  const { tls, identify, host, port } = options;
  if (tls !== undefined && identify === undefined) throw new ContentError("invalid", "TLS without peer identification");
  const server = tls === undefined ? createHttpServer() : createHttpsServer(serverTlsOptions(tls, { edge: false }));
  const rotation = tls && followTlsSource(server as HttpsServer, tls, { edge: false });
  server.requestTimeout = 0;
  server.headersTimeout = 60_000;
  server.keepAliveTimeout = 130_000;
  server.timeout = 0;
  server.maxRequestsPerSocket = 0;
  const handle = requestHandler(options, new PeerOfSocket(identify));
  server.on("request", (request: IncomingMessage, response: ServerResponse) => void handle(request, response));
  server.on("tlsClientError", (error: Error) => options.log.debug("TLS handshake failed", { error }));
  server.listen({ host, port });
  await once(server, "listening");
  const address = server.address() as AddressInfo;
  const authority = address.family === "IPv6" ? `[${address.address}]` : address.address;
  return {
    host: address.address,
    port: address.port,
    url: `${tls ? "https" : "http"}://${authority}:${address.port}`,
    async [Symbol.asyncDispose]() {
      rotation?.[Symbol.dispose]();
      await stop(server, options.timers ?? systemTimers, options.stopGraceMs ?? 10_000);
    },
  };
}

async function stop(server: Server, timers: Timers, graceMs: number): Promise<void> {
  const closed = once(server, "close");
  server.close();
  server.closeIdleConnections();
  // A connection that was busy is idle once its answer is sent.
  using _sweep = timers.every(50, () => server.closeIdleConnections());
  using _cut = timers.after(graceMs, () => server.closeAllConnections());
  await closed;
}

function requestHandler(options: ByteServerOptions, peers: PeerOfSocket) {
  const { node, log, clock = createSystemClock(), timers = systemTimers, bodyIdleMs = 60_000 } = options;
  return async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const controller = new AbortController();
    response.once("close", () => {
      if (!response.writableFinished) controller.abort(new ContentError("unavailable", "the connection closed"));
    });
    request.on("error", () => {});
    response.on("error", () => {});
    response.setHeader(ByteHeader.protocol, PROTOCOL_VERSION);
    try {
      const peer = peers.of(request.socket);
      const exchange = { request, response, node, peer, signal: controller.signal, clock, timers, bodyIdleMs };
      await inSpan("bytes.serve", "server", contextOf(request.headers), () => dispatch(exchange, options));
    } catch (error) {
      answerError(response, error);
      const fields = { method: request.method, path: request.url, error };
      if (isContentError(error) || controller.signal.aborted) log.debug("byte request refused", fields);
      else log.error("byte request failed", fields);
    }
    if (!request.complete) discardBody(request, timers);
  };
}

async function dispatch(exchange: ByteExchange, { allow, mayRead, mayFetch }: ByteServerOptions): Promise<void> {
  const { request, peer } = exchange;
  const { method, url = "/" } = request;
  const spoken = request.headers[ByteHeader.protocol];
  if (spoken !== PROTOCOL_VERSION)
    throw new ContentError("invalid", `this node speaks byte protocol ${PROTOCOL_VERSION}`);
  if ((method === "GET" || method === "HEAD") && url.startsWith(BLOBS_PATH)) {
    requireAllowed(allow, peer, "read");
    const digest = parseDigest(url.slice(BLOBS_PATH.length));
    if (mayRead !== undefined && !(await mayRead(peer, digest)))
      throw new ContentError("denied", `the blob is kept from site ${peer?.site}`);
    await serveBlob(exchange, digest, { fetches: mayFetch?.(peer) ?? true });
  } else if (method === "PATCH" && url.startsWith(UPLOADS_PATH)) {
    requireAllowed(allow, peer, "append");
    await serveAppend(exchange, url.slice(UPLOADS_PATH.length));
  } else {
    throw new ContentError("invalid", "no such resource");
  }
}

function requireAllowed(allow: ByteServerOptions["allow"], peer: PeerIdentity | undefined, action: ByteAction): void {
  if (allow(peer, action)) return;
  throw new ContentError("denied", `${peer?.site}/${peer?.service} may not ${action} here`);
}

/** The one place where errors become HTTP. Once a body has begun, whoever sends it has ended it. */
function answerError(response: ServerResponse, error: unknown): void {
  if (response.headersSent) {
    if (!response.writableEnded) response.destroy();
    return;
  }
  const known = isContentError(error) ? error : new ContentError("unavailable", "the node failed");
  response.statusCode = isContentError(error) ? statusOf(known.kind) : 500;
  for (const name of ["content-length", "content-range", "trailer"]) response.removeHeader(name);
  response.setHeader(ByteHeader.error, known.kind);
  response.setHeader("content-type", "text/plain; charset=utf-8");
  response.end(known.message);
}

function discardBody(request: IncomingMessage, timers: Timers): void {
  request.resume();
  const cut = timers.after(DISCARD_BODY_MS, () => request.destroy());
  request.once("close", () => cut[Symbol.dispose]());
}
