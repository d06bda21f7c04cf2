import type { Server } from "node:http";
import type { Server as SecureServer } from "node:https";
import type { Socket } from "node:net";
import type { Clock, Timers } from "@meridian/runtime";
import { AnswerHeads } from "./answer-head.ts";
import type { Exchange } from "./exchange.ts";
import { LaneConnection, type LaneParts } from "./lane-connection.ts";
import { TurnOfAnswers } from "./turn-of-answers.ts";

/** What {@link openReadLane} needs. */
export interface ReadLaneOptions {
  readonly handle: (exchange: Exchange) => void;
  /** An idle connection is closed after so long, up to a quarter later; one that never sent anything after `firstByteMs`. */
  readonly keepAliveMs: number;
  readonly firstByteMs: number;
  /** A client that takes nothing of its answer for so long is cut off. */
  readonly answerIdleMs: number;
  readonly clock: Clock;
  readonly timers: Timers;
}

/** Looks after the connections of HTTP/1.1 whose requests have all been plain reads so far. Disposed, it looks after none. */
export interface ReadLane extends Disposable {
  /** Each connection ends with its next answer. */
  close(): void;
  /** Ends the connections that wait for a request. */
  closeIdle(): void;
}

/**
 * Stands before a server of node's: GET and HEAD of HTTP/1.1 in the strictest form are read and answered here, at half
 * the CPU time of node:http (docs/decisions/0007); at the first other request the connection becomes node's, as if it had
 * just been accepted.
 */
export function openReadLane(server: Server | SecureServer, secure: boolean, options: ReadLaneOptions): ReadLane {
  const event = secure ? "secureConnection" : "connection";
  const [accept] = server.listeners(event) as Array<(socket: Socket) => void>;
  if (accept === undefined) throw new TypeError(`the server does not listen for ${event}`);
  server.off(event, accept);
  const connections = new Set<LaneConnection>();
  const parts: LaneParts = {
    heads: new AnswerHeads(options),
    turn: new TurnOfAnswers(),
    clock: options.clock,
    handle: options.handle,
    answerIdleMs: options.answerIdleMs,
    handOver: (socket) => accept.call(server, socket),
    left: (connection) => connections.delete(connection),
    closing: false,
  };
  server.on(event, (socket: Socket) => connections.add(new LaneConnection(socket, parts)));
  const sweep = options.timers.every(Math.ceil(Math.min(options.keepAliveMs, options.firstByteMs) / 4), () =>
    closeOverdue(connections, options),
  );
  return {
    close() {
      parts.closing = true;
      this.closeIdle();
    },
    closeIdle() {
      for (const connection of connections) if (connection.idleSince !== undefined) connection.close();
    },
    [Symbol.dispose]: () => sweep[Symbol.dispose](),
  };
}

function closeOverdue(
  connections: ReadonlySet<LaneConnection>,
  { keepAliveMs, firstByteMs, clock }: ReadLaneOptions,
): void {
  const now = clock.monotonic();
  for (const connection of connections) {
    const { idleSince, served } = connection;
    if (idleSince !== undefined && now - idleSince >= (served ? keepAliveMs : firstByteMs)) connection.close();
  }
}
