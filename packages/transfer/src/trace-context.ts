import type { IncomingHttpHeaders } from "node:http";
import {
  type Context,
  context,
  isSpanContextValid,
  propagation,
  type Span,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  trace,
} from "@opentelemetry/api";

const tracer = trace.getTracer("@meridian/transfer");

/** The caller's trace context (W3C Trace Context headers), or the active one when it sent none. */
export function contextOf(headers: IncomingHttpHeaders): Context {
  return headers.traceparent === undefined ? context.active() : propagation.extract(context.active(), headers);
}

/** Adds the active trace context to outgoing headers. */
export function injectTrace(headers: Record<string, string>): void {
  propagation.inject(context.active(), headers);
}

/** Runs inside a new span, unless the parent was decided not to be sampled: then a span would cost and be dropped. */
export function inSpan<T>(
  name: string,
  kind: "client" | "server",
  parent: Context,
  run: (span: Span | undefined) => Promise<T>,
): Promise<T> {
  const parentSpan = trace.getSpanContext(parent);
  if (parentSpan && isSpanContextValid(parentSpan) && (parentSpan.traceFlags & TraceFlags.SAMPLED) === 0) {
    return context.with(parent, () => run(undefined));
  }
  const spanKind = kind === "client" ? SpanKind.CLIENT : SpanKind.SERVER;
  return tracer.startActiveSpan(name, { kind: spanKind }, parent, async (span) => {
    try {
      return await run(span);
    } catch (error) {
      span.setStatus({ code: SpanStatusCode.ERROR, message: error instanceof Error ? error.message : String(error) });
      throw error;
    } finally {
      span.end();
    }
  });
}
