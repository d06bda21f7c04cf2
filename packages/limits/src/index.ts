export { clientKey } from "./client-key.ts";
export {
  blockListOf,
  type LimitsConfig,
  type LoginLimits,
  limitsConfigSchema,
  loginLimitsSchema,
  type RedisConfig,
  redisConfigSchema,
} from "./config.ts";
export { CredentialCache } from "./credential-cache.ts";
export { createExemption } from "./exemption.ts";
export { layeredStore } from "./layered-store.ts";
export type {
  FailureCounter,
  LeaseTable,
  LeaseTerms,
  LimitStore,
  NoteCache,
  Rate,
  TokenBuckets,
} from "./limit-store.ts";
export { createLocalStore } from "./local/local-store.ts";
export { RateLimiter } from "./local/rate-limiter.ts";
export { type Attempt, LoginThrottle, type LoginThrottleRules } from "./login-throttle.ts";
export { deriveKey, type LimitStoreOptions, openLimitStore } from "./open-limits.ts";
export { type LimitName, limitRefused } from "./telemetry.ts";
