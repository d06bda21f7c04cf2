import type { Clock } from "@meridian/runtime";
import { clientKey } from "./client-key.ts";
import type { FailureCounter } from "./limit-store.ts";
import { ExpiringTable } from "./local/expiring-table.ts";

/** How wrong passwords are answered more and more slowly. */
export interface LoginThrottleRules {
  /** The first delay; each further failure doubles it. */
  readonly firstDelayMs: number;
  readonly maxDelayMs: number;
  /** A series ends after this long without a failure. */
  readonly forgetAfterMs: number;
}

/** Who tried to log in, from where. */
export interface Attempt {
  readonly identity: string;
  readonly address: string;
}

/** Failures of one identity from many addresses, and from one address with many identities, that cost nothing more. */
const FREE = { identity: 10, address: 20 } as const;
/** Addresses that are known to fail much. */
const MAX_CROWDED = 10_000;
/** Doublings beyond this change nothing: the greatest delay is reached long before. */
const MAX_DOUBLINGS = 20;

/**
 * Slows answers to wrong passwords: per identity and address together from the first, per identity and per address
 * alone from some failures on. A right password is never delayed or refused: whoever guesses wrongly in somebody's name
 * would lock that somebody out.
 */
export class LoginThrottle {
  readonly #store: FailureCounter;
  readonly #rules: LoginThrottleRules;
  readonly #crowded: ExpiringTable<true>;

  constructor(options: {
    readonly store: FailureCounter;
    readonly rules: LoginThrottleRules;
    readonly clock: Pick<Clock, "monotonic">;
  }) {
    this.#store = options.store;
    this.#rules = options.rules;
    this.#crowded = new ExpiringTable({ capacity: MAX_CROWDED, clock: options.clock });
  }

  /**
   * Whose turn it is when checks wait for each other: an identity's from an address; but all checks of an address share
   * one turn once much has failed from it, so that guessing in many names gets no more of this process than one does.
   */
  turnOf({ identity, address }: Attempt): string {
    const client = clientKey(address);
    return this.#crowded.get(client) ? client : `${identity}\0${client}`;
  }

  /** Counts a wrong password. Resolves with how long the refusal is to be held back, in milliseconds. */
  async failed({ identity, address }: Attempt): Promise<number> {
    const client = clientKey(address);
    const [together, ofIdentity, ofAddress] = await Promise.all([
      this.#count(`both\0${identity}\0${client}`),
      this.#count(`identity\0${identity}`),
      this.#count(`address\0${client}`),
    ]);
    if (ofAddress > FREE.address) this.#crowded.set(client, true, this.#rules.forgetAfterMs);
    return this.#delay(Math.max(together, ofIdentity - FREE.identity, ofAddress - FREE.address));
  }

  /**
   * Ends the series of this identity from this address. The other counts go on: one right password of an attacker's own
   * is no excuse for the guesses beside it.
   */
  async succeeded({ identity, address }: Attempt): Promise<void> {
    await this.#store.clearFailures(`both\0${identity}\0${clientKey(address)}`);
  }

  #count(key: string): Promise<number> {
    return this.#store.addFailure(key, this.#rules);
  }

  #delay(count: number): number {
    const { firstDelayMs, maxDelayMs } = this.#rules;
    return Math.min(maxDelayMs, firstDelayMs * 2 ** Math.min(Math.max(0, count - 1), MAX_DOUBLINGS));
  }
}
