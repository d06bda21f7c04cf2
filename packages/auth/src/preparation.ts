import type { Policy } from "@meridian/policy";
import type { Logger, Timers } from "@meridian/runtime";
import { bootstrap, isBootstrapped } from "./bootstrap.ts";
import type { SigningKeyKeeper } from "./signing-key-keeper.ts";

const FIRST_PAUSE_MS = 100;
const MAX_PAUSE_MS = 5_000;

/** What {@link Preparation} needs. */
export interface PreparationOptions {
  readonly policy: Policy;
  readonly keys: SigningKeyKeeper;
  /** Undefined when this site's configuration has none. */
  readonly adminPasswordHash: string | undefined;
  readonly timers: Timers;
  readonly log: Logger;
}

/** Brings about what tokens need, and keeps it so: the first user, at the home, and this site's key in the policy log. */
export class Preparation {
  readonly #options: PreparationOptions;
  #problem: string | undefined;

  constructor(options: PreparationOptions) {
    this.#options = options;
  }

  /** Why tokens cannot be issued now; undefined when they can. */
  get obstacle(): string | undefined {
    const { policy, keys } = this.#options;
    const detail = this.#problem ? `: ${this.#problem}` : "";
    if (!keys.isPublished) return `the signing key of ${policy.site} is not in effect yet${detail}`;
    if (policy.state.users.size === 0) return this.#noUsers(detail);
    return undefined;
  }

  /** Tries until it is done, and again whenever the policy changes, until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const { timers } = this.#options;
    let pause = FIRST_PAUSE_MS;
    while (!signal.aborted) {
      if (await this.#try(signal)) {
        pause = FIRST_PAUSE_MS;
        await this.#untilNeeded(signal);
      } else {
        await timers.sleep(pause, { signal }).catch(() => undefined);
        pause = Math.min(MAX_PAUSE_MS, pause * 2);
      }
    }
  }

  async #try(signal: AbortSignal): Promise<boolean> {
    const { policy, keys, adminPasswordHash, log } = this.#options;
    try {
      if (this.#mayBootstrap() && adminPasswordHash) await bootstrap(policy, { adminPasswordHash, signal });
      await keys.publish({ signal });
      this.#problem = undefined;
      return !this.#isNeeded();
    } catch (error) {
      const problem = error instanceof Error ? error.message : String(error);
      if (!signal.aborted && problem !== this.#problem)
        log.warn("not ready to issue tokens, will try again", { error });
      this.#problem = problem;
      return false;
    }
  }

  #mayBootstrap(): boolean {
    const { policy, adminPasswordHash } = this.#options;
    return policy.site === policy.home && adminPasswordHash !== undefined && !isBootstrapped(policy);
  }

  #isNeeded(): boolean {
    return !this.#options.keys.isPublished || this.#mayBootstrap();
  }

  #untilNeeded(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const finish = (): void => {
        subscription[Symbol.dispose]();
        signal.removeEventListener("abort", finish);
        resolve();
      };
      const subscription = this.#options.policy.subscribe(() => {
        if (this.#isNeeded()) finish();
      });
      signal.addEventListener("abort", finish, { once: true });
      if (signal.aborted || this.#isNeeded()) finish();
    });
  }

  #noUsers(detail: string): string {
    const { policy, adminPasswordHash } = this.#options;
    if (policy.site !== policy.home)
      return `no user is in effect yet: waiting for the policy home ${policy.home}${detail}`;
    if (adminPasswordHash === undefined)
      return "there is no user: give the policy home a bootstrap.adminPasswordHash in its auth configuration";
    return `the first administrator is not in effect yet${detail}`;
  }
}
