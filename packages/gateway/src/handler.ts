import type { Exchange } from "./exchange.ts";
import type { Match } from "./router.ts";

/** Answers a request. Throws, or rejects with, what the edge turns into an error answer, as long as nothing was sent. */
export type Handler = (exchange: Exchange, match: Match) => void | Promise<void>;

/** The handlers of one resource by method; HEAD is GET's where it has none of its own. */
export interface ResourceHandlers {
  readonly GET?: Handler;
  readonly HEAD?: Handler;
  readonly POST?: Handler;
  readonly PUT?: Handler;
  readonly PATCH?: Handler;
  readonly DELETE?: Handler;
}

/** Runs `then` at once when the value is there, so that a request whose token is known never waits for a turn. */
export function whenReady<T>(value: T | Promise<T>, then: (value: T) => void | Promise<void>): void | Promise<void> {
  return value instanceof Promise ? value.then(then) : then(value);
}
