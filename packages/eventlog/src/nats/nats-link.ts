import { ContentError, ContentErrorKind } from "@meridian/oci";
import type { Logger, Random, Timers } from "@meridian/runtime";
import { type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import { connect, type NatsConnection } from "@nats-io/transport-node";
import type { NatsLogsOptions } from "../open-nats-logs.ts";
import { asContentError } from "./nats-error.ts";
import { Requests } from "./requests.ts";

const CONNECT_TIMEOUT_MS = 3_000;
const REQUEST_TIMEOUT_MS = 5_000;
const PING_INTERVAL_MS = 2_000;
const MIN_BACKOFF_MS = 50;
const MAX_BACKOFF_MS = 2_000;

/**
 * One connection to the site's NATS, from its making to its loss. It never reconnects: what was in flight when it broke
 * must fail, with everything behind it, or the log would have a hole for good.
 */
export class LiveConnection {
  readonly nc: NatsConnection;
  readonly jsm: JetStreamManager;
  readonly requests: Requests;
  /** Aborts when the connection is lost or given up; its reason is a ContentError `unavailable`. */
  readonly lost: AbortSignal;
  readonly #lost = new AbortController();

  constructor(nc: NatsConnection, jsm: JetStreamManager, timers: Timers) {
    this.nc = nc;
    this.jsm = jsm;
    this.requests = new Requests(nc, timers);
    this.lost = this.#lost.signal;
  }

  /** Gives the connection up: everything in flight fails with `unavailable`. */
  fail(cause: unknown): void {
    if (this.lost.aborted) {
      return;
    }
    const reason = cause instanceof Error ? cause.message : String(cause);
    const message = `the connection to the log server was lost: ${reason}`;
    const error = new ContentError(ContentErrorKind.unavailable, message, { cause });
    this.#lost.abort(error);
    this.requests.fail(error);
    this.nc.close().catch(() => {
      // It is given up either way.
    });
  }

  /** Resolves with what ended the connection. */
  async ended(): Promise<unknown> {
    const error = await this.nc.closed();
    this.fail(error ?? new Error("closed"));
    return error;
  }
}

/** Keeps a connection to the site's NATS: a new one, after a back-off with jitter, whenever the last was lost. */
export class NatsLink implements AsyncDisposable {
  readonly #options: NatsLogsOptions;
  readonly #timers: Timers;
  readonly #random: Random;
  readonly #log: Logger | undefined;
  readonly #closing = new AbortController();
  #live: LiveConnection | undefined;
  #lastError: unknown;
  #running: Promise<void> | undefined;

  constructor(options: NatsLogsOptions, timers: Timers) {
    this.#options = options;
    this.#timers = timers;
    this.#random = options.random;
    this.#log = options.log;
  }

  /** The connection of this moment. Throws ContentError `unavailable` while there is none. */
  current(): LiveConnection {
    if (this.#live === undefined || this.#live.lost.aborted) {
      const reason = this.#lastError instanceof Error ? `: ${this.#lastError.message}` : "";
      throw new ContentError(ContentErrorKind.unavailable, `not connected to the log server${reason}`);
    }
    return this.#live;
  }

  /** Starts; resolves with the first connection, or rejects with `unavailable` when there is none within `timeoutMs`. */
  async start(timeoutMs: number): Promise<void> {
    const connected = Promise.withResolvers<void>();
    this.#running = this.#run(connected.resolve);
    using _deadline = this.#timers.after(timeoutMs, () =>
      connected.reject(asContentError(this.#lastError ?? new Error("no answer"))),
    );
    await connected.promise;
  }

  async #run(connected: () => void): Promise<void> {
    const { signal } = this.#closing;
    let failures = 0;
    while (!signal.aborted) {
      try {
        const live = await this.#connect();
        failures = 0;
        connected();
        this.#lastError = await this.#whileLive(live);
      } catch (error) {
        this.#lastError = error;
        failures += 1;
      }
      await this.#backOff(failures);
    }
  }

  async #connect(): Promise<LiveConnection> {
    const { servers, writer, user, pass, token, tls } = this.#options;
    const nc = await connect({
      servers: [...servers],
      name: writer,
      reconnect: false,
      timeout: CONNECT_TIMEOUT_MS,
      pingInterval: PING_INTERVAL_MS,
      maxPingOut: 2,
      noAsyncTraces: true,
      ...(user === undefined ? {} : { user, pass }),
      ...(token === undefined ? {} : { token }),
      ...(tls === undefined ? {} : { tls: { ...tls } }),
    });
    const jsm = await jetstreamManager(nc, { checkAPI: false, timeout: REQUEST_TIMEOUT_MS });
    return new LiveConnection(nc, jsm, this.#timers);
  }

  async #whileLive(live: LiveConnection): Promise<unknown> {
    if (this.#closing.signal.aborted) {
      live.fail(new Error("closed by this process"));
    }
    this.#live = live;
    this.#log?.info("connected to the log server", { server: live.nc.getServer() });
    const error = await live.ended();
    this.#live = undefined;
    if (!this.#closing.signal.aborted) {
      this.#log?.warn("lost the log server", { reason: live.lost.reason });
    }
    return error;
  }

  async #backOff(failures: number): Promise<void> {
    const ceiling = Math.min(MAX_BACKOFF_MS, MIN_BACKOFF_MS * 2 ** failures);
    const ms = MIN_BACKOFF_MS + this.#random.next() * ceiling;
    await this.#timers.sleep(ms, { signal: this.#closing.signal }).catch(() => {
      // Closing: the loop ends.
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    this.#live?.fail(new Error("closed by this process"));
    await this.#running;
  }
}
