import type { Attempt, CredentialCache, LoginThrottle } from "@meridian/limits";
import type { Timers } from "@meridian/runtime";
import type { policyV1 } from "@meridian/wire";
import { FairQueue } from "./fair-queue.ts";
import { impossiblePasswordHash, verifyPassword } from "./password.ts";

/** Two of the four threads that Node has for such work: files need the others. Also bounds the memory: 19 MiB each. */
const CONCURRENCY = 2;
const MAX_WAITING = 1_000;
/** A longer one is wrong without a look at it. */
const MAX_PASSWORD_BYTES = 1_024;

/** What {@link CredentialChecker} needs. */
export interface CredentialCheckerOptions {
  readonly users: () => ReadonlyMap<string, policyV1.User>;
  readonly throttle: LoginThrottle;
  /** Verdicts on credentials that were checked a short while ago. */
  readonly cache: CredentialCache;
  readonly timers: Timers;
  /** How a password is checked; argon2id when absent. */
  readonly verify?: (password: string, hash: string) => Promise<boolean>;
}

/**
 * Checks user names and passwords. The same credential asked for by many at once, or again while it is remembered, costs
 * one computation; an unknown user costs as much as a known one.
 */
export class CredentialChecker {
  readonly #options: CredentialCheckerOptions;
  readonly #verify: (password: string, hash: string) => Promise<boolean>;
  readonly #queue = new FairQueue({ concurrency: CONCURRENCY, maxWaiting: MAX_WAITING });
  readonly #running = new Map<string, Promise<boolean>>();
  readonly #impossible = impossiblePasswordHash();

  constructor(options: CredentialCheckerOptions) {
    this.#options = options;
    this.#verify = options.verify ?? verifyPassword;
  }

  /** True when the user exists, is not disabled, and this is its password. A refusal takes its time. */
  async check(
    credentials: { username: string; password: string; address: string },
    options: { signal?: AbortSignal } = {},
  ): Promise<boolean> {
    const { username, password, address } = credentials;
    const { users, throttle, timers } = this.#options;
    const attempt = { identity: username, address };
    const user = users().get(username);
    const hash = user?.passwordHash || this.#impossible;
    const isShort = Buffer.byteLength(password) <= MAX_PASSWORD_BYTES;
    const isRight = await this.#isRight(attempt, isShort ? password : "", hash);
    if (isRight && isShort && user && !user.disabled) {
      void throttle.succeeded(attempt);
      return true;
    }
    await timers.sleep(await throttle.failed(attempt), options);
    return false;
  }

  /** The hash is part of the question: when it changes, nothing that is remembered answers it. */
  async #isRight(attempt: Attempt, password: string, hash: string): Promise<boolean> {
    const question = this.#options.cache.question(attempt.identity, password, hash);
    let running = this.#running.get(question);
    if (!running) {
      running = this.#answer(question, attempt, password, hash);
      this.#running.set(question, running);
    }
    return running;
  }

  async #answer(question: string, attempt: Attempt, password: string, hash: string): Promise<boolean> {
    const { cache, throttle } = this.#options;
    try {
      const known = await cache.recall(question);
      if (known !== undefined) return known;
      const isRight = await this.#queue.run(throttle.turnOf(attempt), () => this.#verify(password, hash));
      void cache.remember(question, isRight);
      return isRight;
    } finally {
      this.#running.delete(question);
    }
  }
}
