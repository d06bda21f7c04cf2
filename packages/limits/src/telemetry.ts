import { lazyInstruments } from "@meridian/runtime";

const instruments = lazyInstruments("@meridian/limits", (meter) => ({
  refused: meter.createCounter("meridian.limits.refused", { description: "Requests that a limit refused, by limit." }),
  redisFailures: meter.createCounter("meridian.limits.redis.failures", {
    description: "Calls to Redis that failed or took too long; this process alone decided.",
  }),
  redisUp: meter.createGauge("meridian.limits.redis.up", {
    description: "1 while limits are shared by Redis, 0 while this process keeps them alone.",
  }),
}));

/** What refused a request. */
export type LimitName = "identity" | "anonymous" | "address" | "token" | "uploads";

/** A request was told to come back later. */
export function limitRefused(limit: LimitName): void {
  instruments().refused.add(1, { limit });
}

/** One call to Redis was given up. */
export function redisCallFailed(): void {
  instruments().redisFailures.add(1);
}

/** Redis came or went. */
export function redisIsUp(isUp: boolean): void {
  instruments().redisUp.record(isUp ? 1 : 0);
}
