const SECRET_KEY =
  /pass(word|wd|phrase)|secret|token|authorization|cookie|credential|(private|api|signing|secret)[-_ ]?key|totp|^otp$|^key_?pem$/i;
const PRIVATE_KEY_PEM = /-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z0-9 ]*PRIVATE KEY-----|$)/g;
const AUTHORIZATION = /\b(bearer|basic)\s+[a-z0-9._~+/=-]{8,}/gi;
const URL_USERINFO = /\b([a-z][a-z0-9+.-]*:\/\/)[^\s/@:]*:[^\s/@]*@/gi;

const MAX_DEPTH = 6;
const MAX_ITEMS = 100;
const MAX_STRING = 16_384;
const MAX_CAUSES = 5;
const REDACTED = "[redacted]";

/**
 * A copy of `value` that is safe to log and plain JSON: secrets removed, depth, lengths and cause chains bounded,
 * cycles cut, errors as name, message, stack and cause. Keys that look secret (password, token, authorization, …) and
 * private keys, bearer and basic credentials inside any string become `[redacted]`.
 */
export function redact(value: unknown): unknown {
  return copy(value, 0, new Set());
}

/** Removes private keys, credentials of Authorization headers and user information of URLs from a text. */
export function redactText(text: string): string {
  const short = text.length > MAX_STRING ? `${text.slice(0, MAX_STRING)}…` : text;
  return short
    .replace(PRIVATE_KEY_PEM, REDACTED)
    .replace(AUTHORIZATION, `$1 ${REDACTED}`)
    .replace(URL_USERINFO, `$1${REDACTED}@`);
}

function copy(value: unknown, depth: number, path: Set<object>): unknown {
  switch (typeof value) {
    case "string":
      return redactText(value);
    case "bigint":
      return value.toString();
    case "number":
      return Number.isFinite(value) ? value : String(value);
    case "boolean":
    case "undefined":
      return value;
    case "object":
      return value === null ? null : copyObject(value, depth, path);
    default:
      return `[${typeof value}]`;
  }
}

function copyObject(value: object, depth: number, path: Set<object>): unknown {
  if (path.has(value)) return "[circular]";
  if (value instanceof Error) return copyError(value, depth, path);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? "invalid date" : value.toISOString();
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (depth >= MAX_DEPTH) return "[…]";
  path.add(value);
  const result = Array.isArray(value) ? copyArray(value, depth, path) : copyEntries(value, depth, path);
  path.delete(value);
  return result;
}

function copyArray(value: readonly unknown[], depth: number, path: Set<object>): unknown[] {
  const result = value.slice(0, MAX_ITEMS).map((item) => copy(item, depth + 1, path));
  if (value.length > MAX_ITEMS) result.push(`… ${value.length - MAX_ITEMS} more`);
  return result;
}

function copyEntries(value: object, depth: number, path: Set<object>): unknown {
  if (value instanceof Set) return copyArray([...value], depth, path);
  const entries: Array<[string, unknown]> =
    value instanceof Map ? [...value].map(([key, item]) => [String(key), item]) : Object.entries(value);
  const result: Record<string, unknown> = {};
  for (const [key, item] of entries.slice(0, MAX_ITEMS)) {
    result[key] =
      SECRET_KEY.test(key) && item !== undefined && typeof item !== "boolean" ? REDACTED : copy(item, depth + 1, path);
  }
  if (entries.length > MAX_ITEMS) result["…"] = `${entries.length - MAX_ITEMS} more`;
  return result;
}

function copyError(error: Error, depth: number, path: Set<object>): unknown {
  const result: Record<string, unknown> = { name: error.name, message: redactText(error.message) };
  if (error.stack !== undefined) result.stack = redactText(error.stack);
  if (error.cause !== undefined) {
    path.add(error);
    result.cause = depth >= MAX_CAUSES ? "[…]" : copy(error.cause, depth + 1, path);
    path.delete(error);
  }
  if (error instanceof AggregateError && depth < MAX_CAUSES) {
    path.add(error);
    result.errors = copyArray(error.errors, depth + 1, path);
    path.delete(error);
  }
  return result;
}
