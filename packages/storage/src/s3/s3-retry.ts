import type { Clock, Random, Timers } from "@meridian/runtime";
import { patienceFor } from "./s3-error.ts";

/** Time and chance of the retries. */
export interface S3RetryParts {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
}

const FIRST_WAIT_MS = 50;
const FIRST_SLOW_WAIT_MS = 400;
const LONGEST_WAIT_MS = 3_000;

/**
 * Repeats requests that fail for a while, with exponential waits of random length, so that many nodes do not come
 * back together. Once the service has been away for a whole such time, requests are tried once each until one works:
 * then callers learn at once that they have to go elsewhere.
 */
export class S3Retry {
  readonly #parts: S3RetryParts;
  #away = false;

  constructor(parts: S3RetryParts) {
    this.#parts = parts;
  }

  /**
   * `forMs`: how long to go on trying, from the start or from the last progress. `progress`: how far the attempts have
   * come together. Throws what the last attempt threw.
   */
  async run<T>(
    attempt: () => Promise<T>,
    { forMs, progress, signal }: { forMs: number; progress?: () => number; signal?: AbortSignal },
  ): Promise<T> {
    const { clock, timers, random } = this.#parts;
    let until = clock.monotonic() + forMs;
    let reached = progress?.();
    for (let failures = 0; ; failures++) {
      try {
        const result = await attempt();
        this.#away = false;
        return result;
      } catch (error) {
        signal?.throwIfAborted();
        const patience = patienceFor(error);
        if (patience === "none") {
          // It answers.
          this.#away = false;
          throw error;
        }
        if (reached !== progress?.()) {
          reached = progress?.();
          failures = 0;
          this.#away = false;
          until = clock.monotonic() + forMs;
        }
        const first = patience === "slower" ? FIRST_SLOW_WAIT_MS : FIRST_WAIT_MS;
        const wait = (0.5 + random.next() / 2) * Math.min(LONGEST_WAIT_MS, first * 2 ** failures);
        if (this.#away || clock.monotonic() + wait > until) {
          this.#away = true;
          throw error;
        }
        await timers.sleep(wait, { signal });
      }
    }
  }
}
