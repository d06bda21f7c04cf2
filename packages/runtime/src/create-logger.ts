import { isSpanContextValid, trace } from "@opentelemetry/api";
import { type Clock, createSystemClock } from "./clock.ts";
import type { LogFields, Logger, LogLevel } from "./logger.ts";
import { redact, redactText } from "./redact.ts";

/** What {@link createLogger} needs. */
export interface LoggerOptions {
  /** The least level that is written. */
  readonly level: LogLevel;
  /** Fields of every line, e.g. site and process. */
  readonly fields?: LogFields;
  /** Takes one line, ending in a newline. Standard error when absent. */
  readonly write?: (line: string) => void;
  /** `json` (the default) for machines, `text` for a terminal; one line per entry in both. */
  readonly format?: "json" | "text";
  /** Where the time of a line comes from; the system clock when absent. */
  readonly clock?: Clock;
}

const ORDER: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3 };
const RESERVED: ReadonlySet<string> = new Set(["time", "level", "message", "trace_id", "span_id"]);

interface Entry {
  readonly time: string;
  readonly level: LogLevel;
  readonly message: string;
  readonly ids: { trace_id?: string; span_id?: string };
  readonly fields: Readonly<Record<string, unknown>>;
}

/**
 * A logger that writes one line per entry: time (UTC, RFC 3339), level, message, trace_id and span_id of the active
 * span, then the fields. Secrets are redacted (see redact.ts); errors are written with stack and cause chain.
 * A field named like one of the fixed keys gets a trailing underscore. Never throws.
 */
export function createLogger(options: LoggerOptions): Logger {
  const write = options.write ?? ((line: string) => void process.stderr.write(line));
  const render = options.format === "text" ? renderText : renderJson;
  const clock = options.clock ?? createSystemClock();
  const least = ORDER[options.level];

  function loggerWith(inherited: LogFields): Logger {
    const at =
      (level: LogLevel) =>
      (message: string, fields?: LogFields): void => {
        if (ORDER[level] < least) return;
        write(render(makeEntry(level, message, [inherited, fields], clock)));
      };
    return {
      debug: at("debug"),
      info: at("info"),
      warn: at("warn"),
      error: at("error"),
      child: (fields) => loggerWith({ ...inherited, ...fields }),
    };
  }
  return loggerWith(options.fields ?? {});
}

function makeEntry(
  level: LogLevel,
  message: string,
  fields: ReadonlyArray<LogFields | undefined>,
  clock: Clock,
): Entry {
  const span = trace.getActiveSpan()?.spanContext();
  return {
    time: new Date(clock.now()).toISOString(),
    level,
    message: redactText(message),
    ids: span === undefined || !isSpanContextValid(span) ? {} : { trace_id: span.traceId, span_id: span.spanId },
    fields: safeFields(fields),
  };
}

function safeFields(fields: ReadonlyArray<LogFields | undefined>): Record<string, unknown> {
  try {
    const safe = redact(Object.assign({}, ...fields)) as Record<string, unknown>;
    return Object.fromEntries(
      Object.entries(safe).map(([key, value]) => [RESERVED.has(key) ? `${key}_` : key, value] as const),
    );
  } catch (error) {
    // A getter or toString of a logged object threw: the line matters more than its fields.
    return { unloggable: error instanceof Error ? error.message : "fields" };
  }
}

function renderJson({ time, level, message, ids, fields }: Entry): string {
  return `${JSON.stringify({ time, level, message, ...ids, ...fields })}\n`;
}

function renderText({ time, level, message, ids, fields }: Entry): string {
  const pairs = Object.entries({ ...fields, ...ids })
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => ` ${key}=${textValue(value)}`);
  return `${time} ${level.toUpperCase().padEnd(5)} ${oneLine(message)}${pairs.join("")}\n`;
}

function textValue(value: unknown): string {
  return typeof value === "string" && /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value);
}

function oneLine(text: string): string {
  return text.replace(/[\r\n]+/g, " ");
}
