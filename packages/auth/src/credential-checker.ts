import { createHmac } from "node:crypto";
import { GenerationCache } from "@meridian/policy";
import type { Clock, Random, Timers } from "@meridian/runtime";
import type { policyV1 } from "@meridian/wire";
import { FairQueue } from "./fair-queue.ts";
import { LoginThrottle } from "./login-throttle.ts";
import { impossiblePasswordHash, verifyPassword } from "./password.ts";

const REMEMBERED_MS = 60_000;
const MAX_REMEMBERED = 10_000;
/** Two of the four threads that Node has for such work: files need the others. Also bounds the memory: 19 MiB each. */
const CONCURRENCY = 2;
const MAX_WAITING = 1_000;
/** A longer one is wrong without a look at it. */
const MAX_PASSWORD_BYTES = 1_024;

interface Verdict {
  readonly isRight: boolean;
  readonly until: number;
}

/** What {@link CredentialChecker} needs. */
export interface CredentialCheckerOptions {
  readonly users: () => ReadonlyMap<string, policyV1.User>;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  /** How a password is checked; argon2id when absent. */
  readonly verify?: (password: string, hash: string) => Promise<boolean>;
}

/**
 * Checks user names and passwords. The same credential asked for by many at once, or again within a minute, costs one
 * computation; an unknown user costs as much as a known one.
 */
export class CredentialChecker {
  readonly #options: CredentialCheckerOptions;
  readonly #verify: (password: string, hash: string) => Promise<boolean>;
  readonly #throttle: LoginThrottle;
  readonly #queue = new FairQueue({ concurrency: CONCURRENCY, maxWaiting: MAX_WAITING });
  readonly #verdicts = new GenerationCache<string, Verdict>(MAX_REMEMBERED);
  readonly #running = new Map<string, Promise<boolean>>();
  readonly #secret: Uint8Array;
  readonly #impossible = impossiblePasswordHash();

  constructor(options: CredentialCheckerOptions) {
    this.#options = options;
    this.#verify = options.verify ?? verifyPassword;
    this.#throttle = new LoginThrottle(options.clock);
    this.#secret = options.random.bytes(32);
  }

  /** True when the user exists, is not disabled, and this is its password. A refusal takes its time. */
  async check(
    credentials: { username: string; password: string; address: string },
    options: { signal?: AbortSignal } = {},
  ): Promise<boolean> {
    const { username, password, address } = credentials;
    const user = this.#options.users().get(username);
    const hash = user?.passwordHash || this.#impossible;
    const isShort = Buffer.byteLength(password) <= MAX_PASSWORD_BYTES;
    const isRight = await this.#isRight(username, isShort ? password : "", hash, address);
    if (isRight && isShort && user && !user.disabled) {
      this.#throttle.succeeded(username, address);
      return true;
    }
    await this.#options.timers.sleep(this.#throttle.failed(username, address), options);
    return false;
  }

  /** The hash is part of the question: when it changes, nothing that is remembered answers it. */
  async #isRight(username: string, password: string, hash: string, address: string): Promise<boolean> {
    const question = createHmac("sha256", this.#secret)
      .update(JSON.stringify([username, password, hash]))
      .digest("base64");
    const known = this.#verdicts.get(question);
    if (known && known.until > this.#options.clock.monotonic()) return known.isRight;
    let running = this.#running.get(question);
    if (!running) {
      running = this.#compute(question, `${username}\0${address}`, password, hash);
      this.#running.set(question, running);
    }
    return running;
  }

  async #compute(question: string, turn: string, password: string, hash: string): Promise<boolean> {
    try {
      const isRight = await this.#queue.run(turn, () => this.#verify(password, hash));
      this.#verdicts.set(question, { isRight, until: this.#options.clock.monotonic() + REMEMBERED_MS });
      return isRight;
    } finally {
      this.#running.delete(question);
    }
  }
}
