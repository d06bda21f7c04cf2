import { isSpanContextValid, TraceFlags, trace } from "@opentelemetry/api";
import type { NewEntry } from "./event-log.ts";

/**
 * The entry with the trace context of the active span (W3C Trace Context §3.2), so that a reader can link to the write.
 * Unchanged when it has one already, when it is copied from an origin, or when the span is not sampled.
 */
export function traced(entry: NewEntry): NewEntry {
  if (entry.traceparent !== undefined || entry.origin !== undefined) {
    return entry;
  }
  const context = trace.getActiveSpan()?.spanContext();
  if (context === undefined || !isSpanContextValid(context) || (context.traceFlags & TraceFlags.SAMPLED) === 0) {
    return entry;
  }
  return { ...entry, traceparent: `00-${context.traceId}-${context.spanId}-01` };
}
