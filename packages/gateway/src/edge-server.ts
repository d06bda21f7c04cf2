import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import {
  createSecureServer,
  type Http2SecureServer,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import { type Clock, explainListenError, type Logger, type Timers, type TlsSource } from "@meridian/runtime";
import type { Exchange } from "./exchange.ts";
import { type ExchangeLimits, Http1Exchange } from "./http1-exchange.ts";
import { Http2Exchange } from "./http2-exchange.ts";
import { openReadLane, type ReadLane } from "./read-lane.ts";

/** What {@link startEdgeServer} needs. */
export interface EdgeServerOptions {
  readonly host: string;
  readonly port: number;
  /** HTTP/2 and HTTP/1.1 over TLS; plain HTTP/1.1 when absent. */
  readonly tls?: TlsSource;
  readonly keepAliveMs: number;
  readonly headersTimeoutMs: number;
  readonly drainTimeoutMs: number;
  readonly limits: ExchangeLimits;
  readonly handle: (exchange: Exchange) => void;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Logger;
}

/** A listening edge. Disposing it stops accepting, lets requests finish for `drainTimeoutMs`, then cuts what is left. */
export interface EdgeServer extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
}

const MAX_HEADER_BYTES = 32 * 1024;
/** The default of 64 KiB holds a push over 80 ms down to 0.8 MB/s. */
const STREAM_WINDOW = 8 * 1024 * 1024;
const SESSION_WINDOW = 16 * 1024 * 1024;
const MAX_STREAMS = 256;
/** Node refuses streams of a session beyond this; its default of 10 MB is less than one window. */
const SESSION_MEMORY_MB = 64;

/** @throws Error one line that names the address and why it cannot be bound. */
export async function startEdgeServer(options: EdgeServerOptions): Promise<EdgeServer> {
  const sockets = new Set<Socket>();
  const sessions = new Set<ServerHttp2Session>();
  const server = options.tls === undefined ? plainServer(options) : secureServer(options, options.tls, sessions);
  settle(server, options);
  const lane = openReadLane(server, options.tls !== undefined, { ...options, firstByteMs: options.headersTimeoutMs });
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  const rotation = options.tls?.subscribe(({ key, cert }) =>
    (server as Http2SecureServer).setSecureContext({ key, cert }),
  );
  await listen(server, options);
  const { address, port } = server.address() as AddressInfo;
  return {
    host: address,
    port,
    async [Symbol.asyncDispose]() {
      rotation?.[Symbol.dispose]();
      await drain(server, lane, sockets, sessions, options);
      lane[Symbol.dispose]();
    },
  };
}

function plainServer(options: EdgeServerOptions): Server {
  const server = createServer({
    keepAlive: true,
    maxHeaderSize: MAX_HEADER_BYTES,
    noDelay: true,
    connectionsCheckingInterval: checkEveryMs(options),
  });
  return onRequests(server, options);
}

/** Certificates come from `tls` at start and at each rotation; sessions resume by tickets, node's default. */
function secureServer(
  options: EdgeServerOptions,
  tls: TlsSource,
  sessions: Set<ServerHttp2Session>,
): Http2SecureServer {
  const { key, cert } = tls.current();
  const server = createSecureServer({
    key,
    cert,
    allowHTTP1: true,
    connectionsCheckingInterval: checkEveryMs(options),
    handshakeTimeout: options.headersTimeoutMs,
    minVersion: "TLSv1.2",
    maxHeaderSize: MAX_HEADER_BYTES,
    maxSessionMemory: SESSION_MEMORY_MB,
    settings: {
      initialWindowSize: STREAM_WINDOW,
      maxConcurrentStreams: MAX_STREAMS,
      maxHeaderListSize: MAX_HEADER_BYTES,
    },
  } as Parameters<typeof createSecureServer>[0]);
  // A listener for "request" would switch HTTP/2 requests to node's compatibility layer too, at half the speed.
  server.removeAllListeners("newListener");
  server.on("session", (session) => {
    session.setLocalWindowSize(SESSION_WINDOW);
    sessions.add(session);
    session.once("close", () => sessions.delete(session));
    session.on("error", () => undefined);
    // Without this an idle session would stay for ever; streams under way are finished.
    session.setTimeout(options.keepAliveMs, () => session.close());
  });
  server.on("stream", (stream, headers, flags) => {
    const endsWithHeaders = (flags & 1) !== 0;
    options.handle(new Http2Exchange(stream as ServerHttp2Stream, headers, options.limits, endsWithHeaders));
  });
  return onRequests(server, options);
}

function onRequests<S extends Server | Http2SecureServer>(server: S, { limits, handle }: EdgeServerOptions): S {
  const serve = (awaitsContinue: boolean) => (request: unknown, response: unknown) => {
    const incoming = request as IncomingMessage;
    if (isAmbiguous(incoming.rawHeaders)) refuseAmbiguous(response as ServerResponse);
    else handle(new Http1Exchange(incoming, response as ServerResponse, limits, awaitsContinue));
  };
  server.on("request", serve(false));
  // Answered by hand, so that a refusal spares the client its body (RFC 9110 §10.1.1).
  server.on("checkContinue", serve(true));
  return server;
}

/** Node looks for overdue heads this often, so that the last is cut half its time late at most. */
function checkEveryMs({ headersTimeoutMs }: EdgeServerOptions): number {
  return Math.ceil(headersTimeoutMs / 2);
}

/**
 * True when a field comes twice of which node silently takes the first: a proxy in front may have taken the other (RFC 9112
 * §3.2 wants a second Host refused).
 */
function isAmbiguous(rawHeaders: readonly string[]): boolean {
  let hosts = 0;
  let logins = 0;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const { length } = rawHeaders[i]!;
    if (length === 4 && rawHeaders[i]!.toLowerCase() === "host") hosts += 1;
    else if (length === 13 && rawHeaders[i]!.toLowerCase() === "authorization") logins += 1;
  }
  return hosts > 1 || logins > 1;
}

function refuseAmbiguous(response: ServerResponse): void {
  response.writeHead(400, { connection: "close", "content-length": "0" }).end();
}

/** Node's defaults cut long uploads off after 300 s and race the idle pools of clients. */
function settle(server: Server | Http2SecureServer, { keepAliveMs, headersTimeoutMs }: EdgeServerOptions): void {
  const http1 = server as Server;
  http1.requestTimeout = 0;
  http1.headersTimeout = headersTimeoutMs;
  http1.keepAliveTimeout = keepAliveMs;
  http1.timeout = 0;
}

function listen(server: Server | Http2SecureServer, { host, port }: EdgeServerOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error) => reject(new Error(explainListenError(`${host}:${port}`, error), { cause: error })));
    server.listen({ host, port, backlog: 1024 }, resolve);
  });
}

function drain(
  server: Server | Http2SecureServer,
  lane: ReadLane,
  sockets: Set<Socket>,
  sessions: Set<ServerHttp2Session>,
  { drainTimeoutMs, timers, log }: EdgeServerOptions,
): Promise<void> {
  return new Promise((resolve) => {
    const deadline = timers.after(drainTimeoutMs, () => {
      log.warn("connections were cut at the end of the drain time", { connections: sockets.size });
      for (const socket of sockets) socket.destroy();
    });
    const closeIdle = (): void => {
      (server as Server).closeIdleConnections();
      lane.closeIdle();
    };
    const idle = timers.every(100, closeIdle);
    server.close(() => {
      deadline[Symbol.dispose]();
      idle[Symbol.dispose]();
      resolve();
    });
    for (const session of sessions) session.close();
    lane.close();
    closeIdle();
  });
}
