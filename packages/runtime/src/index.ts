export { type Clock, createSystemClock, type SystemClock } from "./clock.ts";
export { createLogger, type LoggerOptions } from "./create-logger.ts";
export type { HealthCheck, HealthReport } from "./health.ts";
export type { IdentifyPeer, PeerIdentity, TlsMaterial, TlsSource } from "./identity.ts";
export type { LogFields, Logger, LogLevel } from "./logger.ts";
export { type Random, systemRandom } from "./random.ts";
export { systemTimers, type Timers } from "./timers.ts";
