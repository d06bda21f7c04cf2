import type { Server } from "node:http";
import type { Server as SecureServer } from "node:https";
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import type { Clock, Timers } from "@meridian/runtime";
import type { Exchange } from "../exchange.ts";
import type { ExchangeLimits } from "../http1-exchange.ts";
import { AnswerFields } from "./answer-fields.ts";
import { Http2Connection, type Http2Parts } from "./http2-connection.ts";

/** What {@link openHttp2Edge} needs. */
export interface Http2EdgeOptions {
  readonly handle: (exchange: Exchange) => void;
  /** An idle connection is closed after so long, up to a quarter later; one that never asked anything after `firstByteMs`. */
  readonly keepAliveMs: number;
  readonly firstByteMs: number;
  readonly limits: ExchangeLimits;
  /** Of a request's fields, encoded and as SETTINGS_MAX_HEADER_LIST_SIZE counts them. */
  readonly maxHeaderBytes: number;
  readonly clock: Clock;
  readonly timers: Timers;
}

/** Looks after the connections that speak HTTP/2. Disposed, it looks after none. */
export interface Http2Edge extends Disposable {
  /** Takes no more requests; each connection ends with its last answer. */
  close(): void;
  /** Ends the connections that wait for a request. */
  closeIdle(): void;
}

/** Takes the connections of a TLS server that agreed on HTTP/2, which node's server then never sees (docs/decisions/0017). */
export function openHttp2Edge(server: Server | SecureServer, options: Http2EdgeOptions): Http2Edge {
  const connections = new Set<Http2Connection>();
  const parts: Http2Parts = {
    ...options,
    heads: new AnswerFields(options.clock),
    left: (connection) => connections.delete(connection),
  };
  const listeners = server.listeners("secureConnection") as Array<(socket: Socket) => void>;
  server.removeAllListeners("secureConnection");
  server.on("secureConnection", (socket: TLSSocket) => {
    if (socket.alpnProtocol === "h2") connections.add(new Http2Connection(socket, parts));
    else for (const listener of listeners) listener.call(server, socket);
  });
  const shortest = Math.min(options.keepAliveMs, options.firstByteMs, options.limits.answerIdleMs);
  const sweep = options.timers.every(Math.ceil(shortest / 4), () => closeOverdue(connections, options));
  return {
    close() {
      for (const connection of connections) connection.close();
    },
    closeIdle() {
      for (const connection of connections) if (connection.idleSince !== undefined) connection.close();
    },
    [Symbol.dispose]: () => sweep[Symbol.dispose](),
  };
}

function closeOverdue(
  connections: ReadonlySet<Http2Connection>,
  { keepAliveMs, firstByteMs, limits, clock }: Http2EdgeOptions,
): void {
  const now = clock.monotonic();
  for (const connection of connections) {
    const { idleSince, served } = connection;
    if (idleSince !== undefined && now - idleSince >= (served ? keepAliveMs : firstByteMs)) connection.close();
    else connection.cutUnread(now - limits.answerIdleMs);
  }
}
