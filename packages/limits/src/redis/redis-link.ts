import { ContentError } from "@meridian/oci";
import type { Logger, Timers } from "@meridian/runtime";
import type { Redis } from "ioredis";
import { redisCallFailed, redisIsUp } from "../telemetry.ts";

/** What {@link RedisLink} needs. */
export interface RedisLinkOptions {
  /** A client that connects by itself and neither queues nor repeats commands. */
  readonly client: Redis;
  /** Where it connects to, for the log. */
  readonly address: string;
  /** A call is given up after this long. */
  readonly timeoutMs: number;
  /** A key that may be written to see whether Redis works again. */
  readonly probeKey: string;
  readonly timers: Timers;
  readonly log: Logger;
}

/** Calls in a row that may fail before no more are tried. */
const FAILURES = 3;
const PROBE_EVERY_MS = 500;
const PROBE_TIMEOUT_MS = 1_000;

/**
 * The way to Redis, with a circuit breaker: while Redis is away or too slow calls fail at once, and only a probe in the
 * background asks whether it is back. Both turns are logged, once each.
 */
export class RedisLink implements AsyncDisposable {
  readonly #options: RedisLinkOptions;
  readonly #probe: Disposable;
  #isUp = false;
  #isTold = false;
  #isClosed = false;
  #isProbing = false;
  #failures = 0;
  #lastError: unknown;

  constructor(options: RedisLinkOptions) {
    this.#options = options;
    const { client, timers } = options;
    client.on("error", (error: unknown) => {
      this.#lastError = error;
    });
    client.on("ready", () => void this.#tryAgain());
    client.on("close", () => this.#down("the connection is closed", this.#lastError));
    this.#probe = timers.every(PROBE_EVERY_MS, () => void this.#tryAgain());
  }

  /** False while calls fail at once. */
  get isUp(): boolean {
    return this.#isUp;
  }

  /** Resolves as `run` does. @throws ContentError `unavailable`, within the time of a call at most. */
  async call<T>(run: (client: Redis) => Promise<T>): Promise<T> {
    if (!this.#isUp) throw new ContentError("unavailable", "Redis is away");
    try {
      const answer = await this.#bounded(run(this.#options.client), this.#options.timeoutMs);
      this.#failures = 0;
      return answer;
    } catch (error) {
      redisCallFailed();
      this.#failures += 1;
      if (this.#failures >= FAILURES) this.#down("it does not answer in time, or refuses", error);
      throw error instanceof ContentError ? error : new ContentError("unavailable", "Redis refused", { cause: error });
    }
  }

  /** Gives up on an answer that takes too long. */
  #bounded<T>(answer: Promise<T>, timeoutMs: number): Promise<T> {
    const { timers } = this.#options;
    return new Promise((resolve, reject) => {
      const late = (): void => reject(new ContentError("unavailable", `Redis took longer than ${timeoutMs} ms`));
      let timer = timers.after(timeoutMs, () => {
        // The answer may wait to be read while this process was busy: one more turn.
        timer = timers.after(1, late);
      });
      void answer.then(resolve, reject).finally(() => timer[Symbol.dispose]());
    });
  }

  #down(why: string, error: unknown): void {
    this.#failures = 0;
    const wasUp = this.#isUp;
    this.#isUp = false;
    if (this.#isClosed || (this.#isTold && !wasUp)) return;
    this.#isTold = true;
    redisIsUp(false);
    const { log, address } = this.#options;
    log.warn("Redis cannot be used: limits and logins are kept by this process alone until it can", {
      redis: address,
      why,
      error,
    });
  }

  /** A write, because a full or read-only Redis answers a ping well. */
  async #tryAgain(): Promise<void> {
    const { client, probeKey } = this.#options;
    if (this.#isUp || this.#isProbing || client.status !== "ready") return;
    this.#isProbing = true;
    try {
      await this.#bounded(client.set(probeKey, "", "PX", PROBE_TIMEOUT_MS), PROBE_TIMEOUT_MS);
      this.#up();
    } catch (error) {
      this.#down("it does not take a write", error);
      // What hangs on the old connection goes with it.
      if (!this.#isClosed) client.disconnect(true);
    } finally {
      this.#isProbing = false;
    }
  }

  #up(): void {
    if (this.#isClosed) return;
    this.#isUp = true;
    this.#failures = 0;
    redisIsUp(true);
    const { log, address } = this.#options;
    if (this.#isTold) log.info("Redis is back: limits and logins are shared again", { redis: address });
    this.#isTold = false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    this.#isUp = false;
    this.#probe[Symbol.dispose]();
    this.#options.client.disconnect();
  }
}
