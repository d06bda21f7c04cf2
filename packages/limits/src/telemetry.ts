import { metrics } from "@opentelemetry/api";

const meter = metrics.getMeter("@meridian/limits");
const refusals = meter.createCounter("meridian.limits.refused", {
  description: "Requests that a limit refused, by limit.",
});
const failures = meter.createCounter("meridian.limits.redis.failures", {
  description: "Calls to Redis that failed or took too long; this process alone decided.",
});
const up = meter.createGauge("meridian.limits.redis.up", {
  description: "1 while limits are shared by Redis, 0 while this process keeps them alone.",
});

/** What refused a request. */
export type LimitName = "identity" | "anonymous" | "address" | "token" | "uploads";

/** A request was told to come back later. */
export function limitRefused(limit: LimitName): void {
  refusals.add(1, { limit });
}

/** One call to Redis was given up. */
export function redisCallFailed(): void {
  failures.add(1);
}

/** Redis came or went. */
export function redisIsUp(isUp: boolean): void {
  up.record(isUp ? 1 : 0);
}
