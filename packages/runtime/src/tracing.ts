import {
  type Attributes,
  type Context,
  context,
  createContextKey,
  isSpanContextValid,
  type Link,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  type Tracer,
  trace,
} from "@opentelemetry/api";

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const CHOSEN = createContextKey("meridian.sampling.chosen");

/** The share of new traces that is sampled; 0 until telemetry starts with an exporter. */
let rootRatio = 0;
let chance: () => number = Math.random;

/** Set once by startTelemetry, as the OpenTelemetry API's own globals are. */
export function setRootSampling(ratio: number, next: () => number = Math.random): void {
  rootRatio = ratio;
  chance = next;
}

/** Whether a span started in this context was already chosen: by its parent's flag or by {@link startServerSpan}. */
export function isChosen(candidate: Context): boolean {
  return candidate.getValue(CHOSEN) === true || isSampled(trace.getSpanContext(candidate));
}

/**
 * The W3C `traceparent` of a context (https://www.w3.org/TR/trace-context/), the active one when absent.
 * Undefined when it is not part of a sampled trace: there is nothing worth passing on then.
 */
export function traceparentOf(candidate: Context = context.active()): string | undefined {
  const span = trace.getSpanContext(candidate);
  return span !== undefined && isSampled(span) ? `00-${span.traceId}-${span.spanId}-01` : undefined;
}

/** A context whose parent is the remote span of a `traceparent`; `base` itself when the text is empty or malformed. */
export function contextFromTraceparent(text: string | undefined, base: Context = ROOT_CONTEXT): Context {
  const remote = parseTraceparent(text);
  return remote === undefined ? base : trace.setSpanContext(base, remote);
}

/** What a span is given at its start. */
export interface SpanSettings {
  /** Low-cardinality facts under their semantic-convention names; repository and digest belong here, never in metrics. */
  readonly attributes?: Attributes;
  /** Internal when absent. */
  readonly kind?: SpanKind;
  /** Other traces that led to this work; a sampled one makes a span of its own trace when there is no sampled parent. */
  readonly links?: readonly Link[];
  /** The active context when absent. */
  readonly parent?: Context;
}

/**
 * Runs `fn` in a span and ends it, with the error when it throws. Outside a sampled trace no span is made: `fn` gets one
 * that records nothing, and the active context stays.
 */
export async function withSpan<T>(
  tracer: Tracer,
  name: string,
  settings: SpanSettings,
  fn: (span: Span) => T | Promise<T>,
): Promise<T> {
  const { attributes, kind = SpanKind.INTERNAL, links = [], parent = context.active() } = settings;
  const sampled = isChosen(parent) || links.some((link) => isSampled(link.context));
  if (!sampled) return fn(NOT_RECORDING);
  const scope = isChosen(parent) ? parent : parent.setValue(CHOSEN, true);
  const span = tracer.startSpan(name, { attributes, kind, links: [...links] }, scope);
  try {
    return await context.with(trace.setSpan(scope, span), () => fn(span));
  } catch (error) {
    failSpan(span, error);
    throw error;
  } finally {
    span.end();
  }
}

/** What {@link startServerSpan} is given. */
export interface ServerSpanSettings {
  /** The request's `traceparent` header. */
  readonly traceparent?: string;
  readonly attributes?: Attributes;
  /** Server when absent. */
  readonly kind?: SpanKind;
}

/** A span with the context to run its work in. */
export interface ServerSpan {
  readonly span: Span;
  readonly context: Context;
  /** Runs `fn` with the span active. */
  run<T>(fn: () => T): T;
  /** Ends the span, with the error when there is one. */
  end(error?: unknown): void;
}

/**
 * The span of an incoming request, or undefined when it is not sampled. That is decided before anything is made: an
 * incoming `traceparent` decides by its flag, else the sampling ratio does.
 */
export function startServerSpan(tracer: Tracer, name: string, settings: ServerSpanSettings): ServerSpan | undefined {
  const remote = settings.traceparent === undefined ? undefined : parseTraceparent(settings.traceparent);
  if (remote === undefined ? rootRatio === 0 || chance() >= rootRatio : !isSampled(remote)) return undefined;
  const parent =
    remote === undefined ? ROOT_CONTEXT.setValue(CHOSEN, true) : trace.setSpanContext(ROOT_CONTEXT, remote);
  const span = tracer.startSpan(
    name,
    { kind: settings.kind ?? SpanKind.SERVER, attributes: settings.attributes },
    parent,
  );
  const scope = trace.setSpan(parent, span);
  return {
    span,
    context: scope,
    run: (fn) => context.with(scope, fn),
    end(error) {
      if (error !== undefined) failSpan(span, error);
      span.end();
    },
  };
}

const NOT_RECORDING = trace.wrapSpanContext({ traceId: "0".repeat(32), spanId: "0".repeat(16), traceFlags: 0 });

function parseTraceparent(text: string | undefined): SpanContext | undefined {
  const match = text === undefined ? null : TRACEPARENT.exec(text);
  if (match === null) return undefined;
  const [, version, traceId, spanId, flags, rest] = match as unknown as string[];
  if (version === "ff" || (version === "00" && rest !== undefined)) return undefined;
  const span = {
    traceId: String(traceId),
    spanId: String(spanId),
    traceFlags: Number.parseInt(String(flags), 16) & TraceFlags.SAMPLED,
    isRemote: true,
  };
  return isSpanContextValid(span) ? span : undefined;
}

function isSampled(span: SpanContext | undefined): boolean {
  return span !== undefined && isSpanContextValid(span) && (span.traceFlags & TraceFlags.SAMPLED) !== 0;
}

function failSpan(span: Span, error: unknown): void {
  const message = error instanceof Error ? error.message : String(error);
  span.setAttribute("error.type", error instanceof Error ? error.name : typeof error);
  span.setStatus({ code: SpanStatusCode.ERROR, message });
}
