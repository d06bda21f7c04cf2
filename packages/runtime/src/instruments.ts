import { type Meter, metrics } from "@opentelemetry/api";

/**
 * The metric instruments of a library, made when the first is used: a meter that is asked for when a module loads, before
 * the process's telemetry has started, would stay silent for ever.
 */
export function lazyInstruments<T>(library: string, make: (meter: Meter) => T): () => T {
  let made: T | undefined;
  return () => {
    made ??= make(metrics.getMeter(library));
    return made;
  };
}
