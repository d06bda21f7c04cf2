import type { Timers } from "@meridian/runtime";
import { createInbox, type Msg, type MsgHdrs, type NatsConnection } from "@nats-io/transport-node";

/** An answer may take this long, in milliseconds, and half as long again: it is looked at that often. */
const TIMEOUT_MS = 5_000;
const LOOK_EVERY_MS = TIMEOUT_MS / 2;
/** NATS's status of a message that nobody listens for. */
const NO_RESPONDERS = 503;

/** No answer came in time, although the connection was there. */
export class UnansweredError extends Error {}

interface Waiting {
  readonly resolve: (answer: Msg) => void;
  readonly reject: (error: Error) => void;
  /** How often the waiting ones had been looked at when this one began to wait. */
  readonly since: number;
}

/**
 * Requests over one connection that share a subscription and a timer. The client's own `request` makes a timer, a random
 * token and an error with its stack for each: more than the rest of an append.
 */
export class Requests {
  readonly #nc: NatsConnection;
  readonly #timers: Timers;
  readonly #inbox = createInbox();
  readonly #waiting = new Map<string, Waiting>();
  #count = 0;
  #looked = 0;
  #looking: Disposable | undefined;

  constructor(nc: NatsConnection, timers: Timers) {
    this.#nc = nc;
    this.#timers = timers;
    nc.subscribe(`${this.#inbox}.*`, {
      callback: (error, answer) => {
        if (error === null) {
          this.#answered(answer);
        }
      },
    });
  }

  /**
   * Sends a message at once; resolves with its answer.
   * @throws Error when none comes in time, nobody listens, or the connection is given up.
   */
  request(subject: string, payload: Uint8Array, headers?: MsgHdrs): Promise<Msg> {
    this.#count += 1;
    const reply = `${this.#inbox}.${this.#count}`;
    const { promise, resolve, reject } = Promise.withResolvers<Msg>();
    this.#waiting.set(reply, { resolve, reject, since: this.#looked });
    this.#looking ??= this.#timers.every(LOOK_EVERY_MS, () => this.#look());
    try {
      this.#nc.publish(subject, payload, { reply, ...(headers && { headers }) });
    } catch (error) {
      this.#waiting.delete(reply);
      throw error;
    }
    return promise;
  }

  /** The connection is given up: no answer comes any more. */
  fail(error: Error): void {
    this.#looking?.[Symbol.dispose]();
    this.#looking = undefined;
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of waiting) {
      reject(error);
    }
  }

  #answered(answer: Msg): void {
    const waiting = this.#waiting.get(answer.subject);
    if (waiting === undefined) {
      return;
    }
    this.#waiting.delete(answer.subject);
    if (answer.headers?.code === NO_RESPONDERS) waiting.reject(new Error("JetStream is not there"));
    else waiting.resolve(answer);
  }

  #look(): void {
    this.#looked += 1;
    for (const [reply, { reject, since }] of this.#waiting) {
      // The first look may come at once.
      if (this.#looked - since > TIMEOUT_MS / LOOK_EVERY_MS) {
        this.#waiting.delete(reply);
        reject(new UnansweredError(`no answer within ${TIMEOUT_MS} ms`));
      }
    }
    if (this.#waiting.size === 0) {
      this.#looking?.[Symbol.dispose]();
      this.#looking = undefined;
    }
  }
}
