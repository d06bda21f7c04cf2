import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createSecureServer, type Server as SecureServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { type Clock, explainListenError, type Logger, type Timers, type TlsSource } from "@meridian/runtime";
import type { Exchange } from "./exchange.ts";
import { type ExchangeLimits, Http1Exchange } from "./http1-exchange.ts";
import { type Http2Edge, openHttp2Edge } from "./http2/http2-edge.ts";
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
/** @throws Error one line that names the address and why it cannot be bound. */
export async function startEdgeServer(options: EdgeServerOptions): Promise<EdgeServer> {
  const sockets = new Set<Socket>();
  const server = options.tls === undefined ? plainServer(options) : secureServer(options, options.tls);
  settle(server, options);
  const times = { ...options, firstByteMs: options.headersTimeoutMs, answerIdleMs: options.limits.answerIdleMs };
  const own: Array<ReadLane | Http2Edge> = [openReadLane(server, options.tls !== undefined, times)];
  if (options.tls !== undefined) own.push(openHttp2Edge(server, { ...times, maxHeaderBytes: MAX_HEADER_BYTES }));
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  const rotation = options.tls?.subscribe(({ key, cert }) => (server as SecureServer).setSecureContext({ key, cert }));
  await listen(server, options);
  const { address, port } = server.address() as AddressInfo;
  return {
    host: address,
    port,
    async [Symbol.asyncDispose]() {
      rotation?.[Symbol.dispose]();
      await drain(server, own, sockets, options);
      for (const one of own) one[Symbol.dispose]();
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
function secureServer(options: EdgeServerOptions, tls: TlsSource): SecureServer {
  const { key, cert } = tls.current();
  const server = createSecureServer({
    key,
    cert,
    ALPNProtocols: ["h2", "http/1.1"],
    keepAlive: true,
    maxHeaderSize: MAX_HEADER_BYTES,
    noDelay: true,
    connectionsCheckingInterval: checkEveryMs(options),
    handshakeTimeout: options.headersTimeoutMs,
    minVersion: "TLSv1.2",
  });
  return onRequests(server, options);
}

function onRequests<S extends Server | SecureServer>(server: S, { limits, handle }: EdgeServerOptions): S {
  const serve = (awaitsContinue: boolean) => (request: IncomingMessage, response: ServerResponse) => {
    if (isAmbiguous(request.rawHeaders)) refuseAmbiguous(response);
    else handle(new Http1Exchange(request, response, limits, awaitsContinue));
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
function settle(server: Server | SecureServer, { keepAliveMs, headersTimeoutMs }: EdgeServerOptions): void {
  server.requestTimeout = 0;
  server.headersTimeout = headersTimeoutMs;
  server.keepAliveTimeout = keepAliveMs;
  server.timeout = 0;
}

function listen(server: Server | SecureServer, { host, port }: EdgeServerOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error) => reject(new Error(explainListenError(`${host}:${port}`, error), { cause: error })));
    server.listen({ host, port, backlog: 1024 }, resolve);
  });
}

function drain(
  server: Server | SecureServer,
  own: ReadonlyArray<ReadLane | Http2Edge>,
  sockets: Set<Socket>,
  { drainTimeoutMs, timers, log }: EdgeServerOptions,
): Promise<void> {
  return new Promise((resolve) => {
    const deadline = timers.after(drainTimeoutMs, () => {
      log.warn("connections were cut at the end of the drain time", { connections: sockets.size });
      for (const socket of sockets) socket.destroy();
    });
    const closeIdle = (): void => {
      server.closeIdleConnections();
      for (const one of own) one.closeIdle();
    };
    const idle = timers.every(100, closeIdle);
    server.close(() => {
      deadline[Symbol.dispose]();
      idle[Symbol.dispose]();
      resolve();
    });
    for (const one of own) one.close();
    closeIdle();
  });
}
