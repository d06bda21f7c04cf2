import type { Metadata } from "@grpc/grpc-js";
import {
  type Context,
  context,
  isSpanContextValid,
  propagation,
  type Span,
  SpanKind,
  SpanStatusCode,
  type TextMapGetter,
  type TextMapSetter,
  TraceFlags,
  trace,
} from "@opentelemetry/api";

const tracer = trace.getTracer("@meridian/rpc");

const setter: TextMapSetter<Metadata> = { set: (metadata, key, value) => metadata.set(key, value) };
const getter: TextMapGetter<Metadata> = {
  keys: (metadata) => Object.keys(metadata.getMap()),
  get: (metadata, key) => metadata.get(key)[0]?.toString(),
};

/** The span of one call and the context that it is active in. */
export interface CallSpan {
  readonly context: Context;
  /** Ends the span, with the error when there was one. */
  end(error?: unknown): void;
}

const NO_SPAN: CallSpan = {
  get context() {
    return context.active();
  },
  end() {},
};

/** Starts a client span and writes it to the metadata, when a sampled context is active; else costs nothing. */
export function startClientSpan(path: string, metadata: Metadata): CallSpan {
  const active = context.active();
  if (!isSampled(active)) return NO_SPAN;
  const span = startCallSpan(path, SpanKind.CLIENT, active);
  propagation.inject(span.context, metadata, setter);
  return span;
}

/** Starts a server span when the metadata carry a sampled context; else costs nothing. */
export function startServerSpan(path: string, metadata: Metadata): CallSpan {
  if (metadata.get("traceparent").length === 0) return NO_SPAN;
  const parent = propagation.extract(context.active(), metadata, getter);
  return isSampled(parent) ? startCallSpan(path, SpanKind.SERVER, parent) : NO_SPAN;
}

function isSampled(candidate: Context): boolean {
  const spanContext = trace.getSpanContext(candidate);
  return (
    spanContext !== undefined &&
    isSpanContextValid(spanContext) &&
    (spanContext.traceFlags & TraceFlags.SAMPLED) === TraceFlags.SAMPLED
  );
}

function startCallSpan(path: string, kind: SpanKind, parent: Context): CallSpan {
  const method = path.slice(1);
  const attributes = { "rpc.system.name": "grpc", "rpc.method": method };
  const span: Span = tracer.startSpan(method, { kind, attributes }, parent);
  return {
    context: trace.setSpan(parent, span),
    end(error) {
      if (error !== undefined) {
        span.setStatus({ code: SpanStatusCode.ERROR, message: error instanceof Error ? error.message : String(error) });
      }
      span.end();
    },
  };
}

/** Runs every step of `source` in `scope`, so that spans started in a generator's body become children of the call's. */
export function inContext<T>(scope: Context, source: AsyncIterable<T>): AsyncIterable<T> {
  return {
    [Symbol.asyncIterator](): AsyncIterator<T> {
      const iterator = context.with(scope, () => source[Symbol.asyncIterator]());
      return {
        next: () => context.with(scope, () => iterator.next()),
        return: async () => {
          await context.with(scope, () => iterator.return?.());
          return { done: true, value: undefined };
        },
      };
    },
  };
}
