/** The head of a request without body, as the read lane takes it. */
export interface RequestHead {
  readonly method: "GET" | "HEAD";
  /** Origin form: path and query as sent. */
  readonly target: string;
  readonly fields: HeadFields;
}

/** The header fields of a head. Clients repeat theirs: a connection keeps the last for its next request. */
export interface HeadFields {
  /** As they came, without the request line. */
  readonly text: string;
  /** By lower-case name. */
  readonly values: ReadonlyMap<string, string>;
  /** The client wants the connection to end with the answer (RFC 9112 §9.6). */
  readonly last: boolean;
}

const REQUEST_LINE = /^(GET|HEAD) (\/[!"$-~]*) HTTP\/1\.1$/;
/** One field line, RFC 9112 §5: no space before the colon, no folding, visible ASCII. */
const FIELD_LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*((?:[!-~]+(?:[ \t]+[!-~]+)*)?)[ \t]*$/;
const MAX_FIELDS = 64;

/** A field with one of these names means a body, another protocol, or an end of the connection. */
const NOT_HERE: ReadonlySet<string> = new Set([
  "content-length",
  "expect",
  "http2-settings",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/**
 * Reads a head from `text`, where `end` is the place of the empty line. `before`: the fields of the connection's former
 * request. Undefined for everything that is not a plain GET or HEAD of HTTP/1.1 in the strictest form: it may still be a
 * good request, but is for node's parser to judge.
 */
export function readHead(text: string, end: number, before: HeadFields | undefined): RequestHead | undefined {
  const lineEnd = text.indexOf("\r\n");
  if (lineEnd >= end) return undefined;
  const line = REQUEST_LINE.exec(text.slice(0, lineEnd));
  if (line === null) return undefined;
  const block = text.slice(lineEnd + 2, end);
  const fields = before !== undefined && before.text === block ? before : readFields(detached(block));
  return fields && { method: line[1] as "GET" | "HEAD", target: line[2]!, fields };
}

/** A copy that keeps nothing else in memory: a part of a string keeps all of it, here a head with its token. */
export function detached(text: string): string {
  return Buffer.from(text).toString();
}

function readFields(text: string): HeadFields | undefined {
  const lines = text.split("\r\n", MAX_FIELDS + 1);
  if (lines.length > MAX_FIELDS) return undefined;
  const values = new Map<string, string>();
  for (const line of lines) {
    const match = FIELD_LINE.exec(line);
    if (match === null) return undefined;
    const name = match[1]!.toLowerCase();
    // Whether a field may come twice, and what that means, differs from name to name.
    if (NOT_HERE.has(name) || values.has(name)) return undefined;
    values.set(name, match[2]!);
  }
  const connection = values.get("connection")?.toLowerCase() ?? "keep-alive";
  if (connection !== "keep-alive" && connection !== "close") return undefined;
  return values.get("host") ? { text, values, last: connection === "close" } : undefined;
}
