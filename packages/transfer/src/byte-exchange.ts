import type { IncomingMessage, ServerResponse } from "node:http";
import type { Clock, PeerIdentity, Timers } from "@meridian/runtime";
import type { NodeBytes } from "./node-bytes.ts";

/** One request of the byte protocol, being answered. */
export interface ByteExchange {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly node: NodeBytes;
  /** Undefined only for plain HTTP. */
  readonly peer: PeerIdentity | undefined;
  /** Aborts when the connection closes before the answer is complete. */
  readonly signal: AbortSignal;
  readonly clock: Clock;
  readonly timers: Timers;
  /** A body that makes no progress for so long, in milliseconds, is ended. */
  readonly bodyIdleMs: number;
}
