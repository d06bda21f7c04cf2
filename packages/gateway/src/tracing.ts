import { OciError } from "@meridian/oci";
import { context, type Span, SpanStatusCode, trace } from "@opentelemetry/api";
import type { Exchange } from "./exchange.ts";
import type { Match } from "./router.ts";

/** The gateway's tracer. Without a provider it makes spans that record nothing. */
export const tracer = trace.getTracer("@meridian/gateway");

/** The name of a request's span: what it does in the registry's words. */
export function spanName(method: string, match: Match | undefined): string {
  if (match === undefined) return "http.unknown";
  switch (match.resource) {
    case "manifest":
      return `${verb(method)}.manifest`;
    case "blob":
      return `${verb(method)}.blob`;
    case "uploads":
    case "upload":
      return method === "GET" || method === "DELETE" ? `${method.toLowerCase()}.upload` : "push.blob";
    default:
      return `${method.toLowerCase()}.${match.resource}`;
  }
}

function verb(method: string): string {
  return method === "PUT" ? "push" : method === "DELETE" ? "delete" : "pull";
}

/** Runs one step of a request in a span of its own when the request's trace is sampled; at no cost otherwise. */
export function step<T>(exchange: Pick<Exchange, "traced">, name: string, run: () => T): T {
  if (!exchange.traced) return run();
  const span = tracer.startSpan(name);
  try {
    const result = context.with(trace.setSpan(context.active(), span), run);
    if (!(result instanceof Promise)) {
      span.end();
      return result;
    }
    return result.then(
      (value) => {
        span.end();
        return value;
      },
      (error: unknown) => endFailed(span, error),
    ) as T;
  } catch (error) {
    return endFailed(span, error);
  }
}

/** A refusal is an answer: only what this side failed at is an error (OpenTelemetry's HTTP conventions for servers). */
function endFailed(span: Span, error: unknown): never {
  if (error instanceof OciError && error.status < 500) span.setAttribute("error.type", error.code);
  else span.setStatus({ code: SpanStatusCode.ERROR, message: error instanceof Error ? error.message : String(error) });
  span.end();
  throw error;
}
