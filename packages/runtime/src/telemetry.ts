import { type Context, context, DiagLogLevel, diag, metrics, propagation, trace } from "@opentelemetry/api";
import type { Resource } from "@opentelemetry/resources";
import type { Sampler, SamplingResult, SpanExporter, TracerProvider } from "@opentelemetry/sdk-trace";
import type { Logger } from "./logger.ts";
import { type Random, systemRandom } from "./random.ts";
import { systemTimers, type Timers } from "./timers.ts";
import { isChosen, setRootSampling } from "./tracing.ts";

/** What {@link startTelemetry} needs. */
export interface TelemetryOptions {
  /** The process's service name: gateway, blob-node, replicator, auth or site. */
  readonly service: string;
  readonly site: string;
  /** The process's name within its site. */
  readonly process: string;
  readonly version: string;
  /** An OTLP/HTTP receiver, e.g. `http://127.0.0.1:4318`; without a path /v1/traces is added. No tracing when absent. */
  readonly otlpUrl?: string;
  /** Takes the place of the OTLP exporter, for tests. */
  readonly exporter?: SpanExporter;
  /** The share of traces that begin here and are sampled, 0 to 1; traces of callers keep their caller's choice. */
  readonly sampleRatio: number;
  readonly random?: Random;
  readonly timers?: Timers;
  /** Gets the SDK's own warnings, e.g. of a receiver that cannot be reached. */
  readonly log?: Logger;
}

/** Running telemetry of a process. */
export interface Telemetry {
  /** All metrics in Prometheus text format. */
  metricsText(): Promise<string>;
  /** Sends what is waiting, for at most 2 s, and takes the process's telemetry down. Never rejects. */
  shutdown(): Promise<void>;
}

const SHUTDOWN_MS = 2_000;
const EXPORT_MS = 1_500;

/**
 * Sets up OpenTelemetry for the process: metrics always, tracing only with somewhere to send it. Context propagation is
 * always on, so that a sampled trace of a caller passes through, and costs nothing until a request carries one.
 */
export async function startTelemetry(options: TelemetryOptions): Promise<Telemetry> {
  const { log, timers = systemTimers, random = systemRandom } = options;
  const [{ W3CTraceContextPropagator }, { AsyncLocalStorageContextManager }, { resourceFromAttributes }] =
    await Promise.all([
      import("@opentelemetry/core"),
      import("@opentelemetry/context-async-hooks"),
      import("@opentelemetry/resources"),
    ]);
  if (log !== undefined)
    diag.setLogger(diagLogger(log), { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true });
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  const resource = resourceFromAttributes(resourceAttributes(options));
  const metering = await startMetrics(resource);
  const tracing = await startTracing(resource, options);
  if (tracing !== undefined) setRootSampling(options.sampleRatio, random.next);

  async function shutdown(): Promise<void> {
    const closed = Promise.allSettled([tracing?.shutdown(), metering.shutdown()]);
    const inTime = new AbortController();
    await Promise.race([closed, timers.sleep(SHUTDOWN_MS, { signal: inTime.signal }).catch(() => {})]);
    inTime.abort();
    setRootSampling(0);
    for (const api of [trace, metrics, propagation, context, diag]) api.disable();
  }

  let closing: Promise<void> | undefined;
  return {
    metricsText: metering.text,
    shutdown() {
      closing ??= shutdown();
      return closing;
    },
  };
}

function resourceAttributes({ service, site, process: name, version }: TelemetryOptions): Record<string, string> {
  return {
    "service.name": service,
    "service.namespace": "meridian",
    "service.instance.id": `${site}/${name}`,
    "service.version": version,
    "meridian.site": site,
  };
}

async function startMetrics(resource: Resource): Promise<{ text(): Promise<string>; shutdown(): Promise<void> }> {
  const [{ MeterProvider }, { PrometheusExporter, PrometheusSerializer }] = await Promise.all([
    import("@opentelemetry/sdk-metrics"),
    import("@opentelemetry/exporter-prometheus"),
  ]);
  // The exporter's own server stays off: the admin server serves the text.
  const reader = new PrometheusExporter({ preventServerStart: true });
  const serializer = new PrometheusSerializer();
  const provider = new MeterProvider({ resource, readers: [reader] });
  metrics.setGlobalMeterProvider(provider);
  return {
    text: async () => serializer.serialize((await reader.collect()).resourceMetrics),
    shutdown: () => provider.shutdown(),
  };
}

async function startTracing(resource: Resource, options: TelemetryOptions): Promise<TracerProvider | undefined> {
  const exporter = options.exporter ?? (await otlpExporter(options.otlpUrl));
  if (exporter === undefined) return undefined;
  const { BatchSpanProcessor, SamplingDecision, TracerProvider } = await import("@opentelemetry/sdk-trace");
  const recorded: SamplingResult = { decision: SamplingDecision.RECORD_AND_SAMPLED };
  const dropped: SamplingResult = { decision: SamplingDecision.NOT_RECORD };
  const sampler: Sampler = {
    // Whoever starts a trace has chosen before making a span; a span that nobody chose is none.
    shouldSample: (parent: Context) => (isChosen(parent) ? recorded : dropped),
    toString: () => "ChosenBefore",
  };
  const spanProcessors = [new BatchSpanProcessor({ exporter, scheduledDelayMillis: 1_000 })];
  const provider = new TracerProvider({ resource, sampler, spanProcessors });
  trace.setGlobalTracerProvider(provider);
  return provider;
}

async function otlpExporter(otlpUrl: string | undefined): Promise<SpanExporter | undefined> {
  if (otlpUrl === undefined) return undefined;
  const url = new URL(otlpUrl);
  if (url.pathname === "/") url.pathname = "/v1/traces";
  const { OTLPTraceExporter } = await import("@opentelemetry/exporter-trace-otlp-http");
  // The default of 10 s, with retries inside it, would keep a process that has ended its work alive for that long.
  return new OTLPTraceExporter({ url: url.href, timeoutMillis: EXPORT_MS });
}

function diagLogger(log: Logger) {
  const warn = (message: string, ...details: unknown[]): void => log.warn(`telemetry: ${message}`, { details });
  return { error: warn, warn, info() {}, debug() {}, verbose() {} };
}
