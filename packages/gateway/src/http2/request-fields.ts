import type { Field } from "./static-table.ts";

/** What a field block says of a request. */
export interface RequestFields {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  /** Without "?". */
  readonly query: string;
  /** `:authority`, or Host. */
  readonly host: string | undefined;
  readonly contentLength: number | undefined;
  /** Regular fields by name. */
  readonly values: ReadonlyMap<string, string>;
}

const PSEUDO: ReadonlySet<string> = new Set([":method", ":scheme", ":path", ":authority"]);
/** RFC 9113 §8.2.2: they speak of a connection of HTTP/1.1. */
const OF_CONNECTIONS: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);
/** What a second one would mean nobody can say. */
const ONCE: ReadonlySet<string> = new Set([
  "authorization",
  "content-length",
  "content-range",
  "content-type",
  "host",
  "if-range",
  "range",
]);
const NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
/** RFC 9113 §8.2.1, and nothing outside latin1 can come. */
const VALUE = /^(?![\t ])[\t\x20-\x7e\x80-\xff]*(?<![\t ])$/;
const PATH = /^(?:\/[!"$-~]*|\*)$/;
const LENGTH = /^\d{1,15}$/;

/** Undefined for a malformed request (RFC 9113 §8.1.1). */
export function readRequest(fields: readonly Field[]): RequestFields | undefined {
  const pseudo = new Map<string, string>();
  const values = new Map<string, string>();
  for (const [name, value] of fields) {
    if (!VALUE.test(value)) return undefined;
    if (name.startsWith(":")) {
      if (values.size > 0 || !PSEUDO.has(name) || pseudo.has(name)) return undefined;
      pseudo.set(name, value);
    } else if (!addValue(values, name, value)) return undefined;
  }
  const method = pseudo.get(":method");
  const target = pseudo.get(":path");
  const scheme = pseudo.get(":scheme");
  if (!method || !NAME.test(method.toLowerCase()) || !scheme || target === undefined || !PATH.test(target))
    return undefined;
  const authority = pseudo.get(":authority");
  const host = authority ?? values.get("host");
  const length = values.get("content-length");
  if (values.get("host") !== undefined && values.get("host") !== host) return undefined;
  if (length !== undefined && !LENGTH.test(length)) return undefined;
  const mark = target.indexOf("?");
  return {
    method,
    path: mark < 0 ? target : target.slice(0, mark),
    query: mark < 0 ? "" : target.slice(mark + 1),
    host,
    contentLength: length === undefined ? undefined : Number(length),
    values,
  };
}

/** False when the field may not be there. */
function addValue(values: Map<string, string>, name: string, value: string): boolean {
  if (!NAME.test(name) || OF_CONNECTIONS.has(name) || (name === "te" && value !== "trailers")) return false;
  const before = values.get(name);
  if (before !== undefined && ONCE.has(name)) return false;
  values.set(name, before === undefined ? value : `${before}${name === "cookie" ? "; " : ", "}${value}`);
  return true;
}
