import {
  clientKey,
  createExemption,
  type LimitName,
  type LimitStore,
  type LimitsConfig,
  limitRefused,
  RateLimiter,
} from "@meridian/limits";
import type { Principal } from "@meridian/policy";
import type { Clock } from "@meridian/runtime";
import type { ClientOrigin } from "./client-origin.ts";
import type { Exchange } from "./exchange.ts";
import { busy } from "./refusal.ts";

/** How many requests one client may make. Each method throws the Refusal of a request that is one too many. */
export interface RequestLimits {
  /** Counts any request under its client's address. */
  ofAddress(exchange: Exchange): void;
  /** Counts a request under who sends it; undefined, or without a name: under its client's address, as anonymous. */
  ofPrincipal(exchange: Exchange, principal: Principal | undefined): void;
  /** Counts a request for a token under its client's address, in the whole site. */
  ofToken(exchange: Exchange): Promise<void>;
}

/**
 * Limits of requests. Those that every pull meets are token buckets in this process's memory: two processes let twice as
 * much pass, and no pull waits for anything. An address is looked for among the exempt ones only when it has run out.
 */
export function createRequestLimits(options: {
  readonly limits: LimitsConfig;
  readonly store: LimitStore;
  readonly clients: ClientOrigin;
  readonly clock: Clock;
}): RequestLimits {
  const { limits, store, clients, clock } = options;
  const isExempt = createExemption(limits.exempt);
  const limiterOf = (rate: LimitsConfig["tokens"]): RateLimiter | undefined =>
    rate === "off" ? undefined : new RateLimiter({ rate, clock });
  const identities = limiterOf(limits.requests.perIdentity);
  const anonymous = limiterOf(limits.requests.anonymous);
  const addresses = limiterOf(limits.requests.perAddress);

  const refuse = (exchange: Exchange, limit: LimitName, waitMs: number): void => {
    if (isExempt(clients.address(exchange))) return;
    limitRefused(limit);
    throw busy(exchange, MESSAGES[limit], Math.ceil(waitMs / 1000));
  };

  const take = (exchange: Exchange, limiter: RateLimiter | undefined, limit: LimitName, key: string): void => {
    const waitMs = limiter === undefined ? 0 : limiter.take(key);
    if (waitMs > 0) refuse(exchange, limit, waitMs);
  };

  return {
    ofAddress(exchange) {
      if (addresses !== undefined) take(exchange, addresses, "address", clientKey(clients.address(exchange)));
    },
    ofPrincipal(exchange, principal) {
      if (principal?.name !== undefined) take(exchange, identities, "identity", principal.name);
      else if (anonymous !== undefined && principal?.superuser !== true)
        take(exchange, anonymous, "anonymous", clientKey(clients.address(exchange)));
    },
    async ofToken(exchange) {
      const address = clients.address(exchange);
      if (limits.tokens === "off" || isExempt(address)) return;
      const waitMs = await store.takeToken(`token\0${clientKey(address)}`, limits.tokens);
      if (waitMs > 0) refuse(exchange, "token", waitMs);
    },
  };
}

const MESSAGES: Readonly<Record<LimitName, string>> = {
  address: "too many requests from this address",
  anonymous: "too many requests without a login from this address",
  identity: "too many requests of this user",
  token: "too many logins from this address",
  uploads: "too many uploads of this user are under way",
};
