import { ContentError, type ContentErrorKind } from "@meridian/oci";
import type { OpenSpan } from "./node-bytes.ts";

/** The version that both ends name in `Meridian-Protocol`; a node refuses a request of another one. */
export const PROTOCOL_VERSION = "1";

/** Path prefixes of the byte protocol. */
export const BLOBS_PATH = "/v1/blobs/";
export const UPLOADS_PATH = "/v1/uploads/";

/** Header names, in lower case as node:http delivers them. */
export const ByteHeader = {
  protocol: "meridian-protocol",
  /** Request: nodes from which the asked node may fetch, comma-separated, nearest first. */
  holders: "meridian-holders",
  /** Request: expected size in bytes, a hint. */
  expectedSize: "meridian-expected-size",
  /** Request: a 307 to a signed URL, which lives for so many milliseconds at most, will do instead of the bytes. */
  linkForMs: "meridian-link-for-ms",
  /** Request: where the body of an append starts. Response: the acknowledged offset. */
  offset: "meridian-offset",
  /** Request: "true" when the body is the upload's last and a commit follows. */
  final: "meridian-final",
  /** Response: the size of the whole blob in bytes, also with 416. */
  size: "meridian-size",
  servedBy: "meridian-served-by",
  route: "meridian-route",
  /** Response, as header or as trailer of a body that broke off: the kind of ContentError. */
  error: "meridian-error",
} as const;

const MAX_HOLDERS = 64;
const NODE_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\/[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;

const STATUS_OF_KIND: Readonly<Record<ContentErrorKind, number>> = {
  "not-found": 404,
  "digest-mismatch": 422,
  "invalid-range": 416,
  conflict: 409,
  precondition: 412,
  fenced: 409,
  "no-space": 507,
  unavailable: 503,
  invalid: 400,
  denied: 403,
};

/** The HTTP status (RFC 9110 §15) that goes with a kind of error; `Meridian-Error` says which kind it is exactly. */
export function statusOf(kind: ContentErrorKind): number {
  return STATUS_OF_KIND[kind];
}

/** The error kind that a peer named; `unavailable` when it named none that is known. */
export function kindOf(text: string | undefined): ContentErrorKind {
  return text !== undefined && Object.hasOwn(STATUS_OF_KIND, text) ? (text as ContentErrorKind) : "unavailable";
}

/** Reads `bytes=a-b` or `bytes=a-` (RFC 9110 §14.1.2; peers ask for one range, never for a suffix). Undefined when there is no header. */
export function parseRangeHeader(header: string | undefined): OpenSpan | undefined {
  if (header === undefined) return undefined;
  const match = /^bytes=(\d{1,15})-(\d{1,15})?$/.exec(header);
  if (match === null) throw new ContentError("invalid", "the Range header is not a single byte range");
  const start = Number(match[1]);
  if (match[2] === undefined) return { start };
  const end = Number(match[2]) + 1;
  if (end <= start) throw new ContentError("invalid", "the Range header names an empty range");
  return { start, end };
}

/** The Range header for a span that is not empty; undefined when it is the whole blob. */
export function formatRangeHeader(span: OpenSpan): string | undefined {
  if (span.end !== undefined) return `bytes=${span.start}-${span.end - 1}`;
  return span.start === 0 ? undefined : `bytes=${span.start}-`;
}

/** Node names from `Meridian-Holders`. @throws ContentError `invalid`. */
export function parseHolders(header: string | undefined): readonly string[] {
  if (header === undefined || header === "") return [];
  const names = header.split(",").map((name) => name.trim());
  if (names.length > MAX_HOLDERS || !names.every((name) => NODE_NAME.test(name))) {
    throw new ContentError("invalid", `${ByteHeader.holders} is not a list of at most ${MAX_HOLDERS} nodes`);
  }
  return names;
}

/** `Meridian-Holders` for these nodes; those beyond what a peer accepts are left out. */
export function formatHolders(holders: readonly string[]): string {
  return holders.slice(0, MAX_HOLDERS).join(",");
}

/** A header that is a whole number, of bytes or what its name says; undefined when absent. @throws ContentError `invalid`. */
export function parseBytes(name: string, text: string | string[] | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (typeof text !== "string" || !/^\d{1,15}$/.test(text)) {
    throw new ContentError("invalid", `${name} is not a whole number`);
  }
  return Number(text);
}
