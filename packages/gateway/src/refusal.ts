import {
  type ErrorCode,
  type ErrorSubject,
  formatContentRange,
  isContentError,
  OciError,
  type OciErrorOptions,
  toOciError,
} from "@meridian/oci";
import type { Exchange, HeaderList } from "./exchange.ts";

/** What a {@link Refusal} may say beside its code and message. */
export interface RefusalOptions extends OciErrorOptions {
  /** Added to the answer. */
  readonly headers?: HeaderList;
}

/** An error answer that needs headers of its own. */
export class Refusal extends OciError {
  readonly headers: HeaderList;

  constructor(code: ErrorCode, message: string, options: RefusalOptions = {}) {
    super(code, message, options);
    this.headers = options.headers ?? [];
  }
}

const RETRY_AFTER_SECONDS = 5;

/** The answer "not now": 503 with Retry-After. */
export function unavailable(message: string, options: RefusalOptions = {}): Refusal {
  return new Refusal("UNAVAILABLE", message, { retryAfterSeconds: RETRY_AFTER_SECONDS, ...options });
}

/** Too much at once: a request without body is told to come back, one with a body is refused before it is read. */
export function busy(
  exchange: Pick<Exchange, "hasBody" | "bodyLength">,
  message: string,
  retryAfterSeconds: number,
): Refusal {
  const options = { retryAfterSeconds: Math.max(1, retryAfterSeconds) };
  const isEmpty = !exchange.hasBody || exchange.bodyLength === 0;
  return isEmpty ? new Refusal("TOOMANYREQUESTS", message, options) : unavailable(message, options);
}

/** What a thrown error becomes at the edge of `site`; `what` the request was about decides the words for what is absent. */
export function refusalOf(error: unknown, what: ErrorSubject, site: string): OciError {
  if (!isContentError(error, "no-space")) return toOciError(error, what);
  const message = `site ${site} has no room for this: free or add disk space there (blob nodes and log), or use another site`;
  return new OciError("INSUFFICIENT_STORAGE", message, { detail: { site }, cause: error });
}

/** The headers that an error answer carries because of what it says. */
export function refusalHeaders(error: OciError): string[] {
  const headers = error instanceof Refusal ? [...error.headers] : [];
  if (error.retryAfterSeconds !== undefined) headers.push("Retry-After", String(error.retryAfterSeconds));
  const size = error.code === "RANGE_INVALID" ? (error.detail as { size?: unknown } | undefined)?.size : undefined;
  if (typeof size === "number") headers.push("Content-Range", formatContentRange(undefined, size));
  return headers;
}

/** JSON in ASCII, so that it can be sent as a latin1 string whatever it quotes. */
export function asciiJson(value: unknown): string {
  return JSON.stringify(value).replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
