export { type AdminHandler, type AdminServer, type AdminServerOptions, startAdminServer } from "./admin-server.ts";
export { type Clock, createSystemClock, type SystemClock } from "./clock.ts";
export { ConfigError, loadConfigFile, parseConfig } from "./config.ts";
export { createLogger, type LoggerOptions } from "./create-logger.ts";
export { createHealth, type Health, type HealthCheck, type HealthOptions, type HealthReport } from "./health.ts";
export type { IdentifyPeer, PeerIdentity, TlsMaterial, TlsSource } from "./identity.ts";
export { lazyInstruments } from "./instruments.ts";
export { explainListenError } from "./listen-error.ts";
export type { LogFields, Logger, LogLevel } from "./logger.ts";
export { createManualTime, type ManualTime } from "./manual-time.ts";
export { type OnPersistStep, PERSIST_STEPS, type PersistStep } from "./persist-step.ts";
export { type Random, systemRandom } from "./random.ts";
export { type RunServiceOptions, runService } from "./run-service.ts";
export { startTelemetry, type Telemetry, type TelemetryOptions } from "./telemetry.ts";
export { systemTimers, type Timers } from "./timers.ts";
export {
  contextFromTraceparent,
  type ServerSpan,
  type ServerSpanSettings,
  type SpanSettings,
  startServerSpan,
  traceparentOf,
  withSpan,
} from "./tracing.ts";
