import { OciError } from "./errors.ts";

/** Bytes `start` (inclusive) to `end` (exclusive). */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** A request for more ranges than this is refused, as work out of proportion. */
export const MAX_RANGES = 512;

const RANGE = /^(?:(\d+)-(\d*)|-(\d+))$/;

/**
 * The parts of a representation of `size` bytes that a Range header asks for, in its order, overlaps kept; those
 * outside are left out and ends beyond are clamped (RFC 9110 §14.1.2). Undefined when the whole is to be sent: no
 * header, or a unit other than bytes.
 * @throws OciError RANGE_INVALID: 416 when nothing of it exists or the header is malformed (detail.size is for
 * Content-Range), 400 when there are more than {@link MAX_RANGES}.
 */
export function parseRange(header: string | undefined, size: number): readonly Span[] | undefined {
  const list = bytesUnit(header);
  if (list === undefined) return undefined;
  const parts = list.split(",", MAX_RANGES + 1).map((part) => part.trim());
  if (parts.length > MAX_RANGES) throw refused(`more than ${MAX_RANGES} ranges`, size, 400);
  const spans: Span[] = [];
  let wholeOfNothing = false;
  for (const part of parts) {
    if (part === "") continue;
    const span = parsePart(part, size);
    if (span === undefined) continue;
    if (span.start < span.end) spans.push(span);
    else wholeOfNothing = true;
  }
  if (spans.length > 0) return spans;
  // A suffix of an empty blob is satisfiable but has no Content-Range: the whole is the same.
  if (wholeOfNothing) return undefined;
  throw refused(`no byte of it exists, the size is ${size}`, size);
}

/** The value of Content-Range for one part (RFC 9110 §14.4); without a span, that of a 416. */
export function formatContentRange(span: Span | undefined, size: number): string {
  return span === undefined ? `bytes */${size}` : `bytes ${span.start}-${span.end - 1}/${size}`;
}

function bytesUnit(header: string | undefined): string | undefined {
  if (header === undefined) return undefined;
  const equals = header.indexOf("=");
  if (equals < 0 || header.slice(0, equals).trim().toLowerCase() !== "bytes") return undefined;
  return header.slice(equals + 1);
}

/** Undefined when none of its bytes exist; an empty span for a suffix of nothing. */
function parsePart(part: string, size: number): Span | undefined {
  const match = RANGE.exec(part);
  if (match === null) throw refused(`malformed range ${part.slice(0, 50)}`, size);
  const [, first, last, suffix] = match;
  if (suffix !== undefined) {
    const length = Number(suffix);
    return length === 0 ? undefined : { start: Math.max(0, size - length), end: size };
  }
  const start = Number(first);
  const end = last === "" ? size : Number(last) + 1;
  if (last !== "" && Number(last) < start) throw refused(`range ${part.slice(0, 50)} ends before it starts`, size);
  return start < size ? { start, end: Math.min(end, size) } : undefined;
}

function refused(reason: string, size: number, status?: number): OciError {
  return new OciError("RANGE_INVALID", `range not satisfiable: ${reason}`, {
    detail: { size },
    ...(status !== undefined && { status }),
  });
}

// One digit more for the size than for the last byte: it may be one greater.
const CONTENT_RANGE = /^(?:bytes[ =])?(\d{1,15})-(\d{1,15})(?:\/(?:\d{1,16}|\*))?$/;

/**
 * Where a chunk of an upload belongs: `<start>-<end>`, both inclusive on the wire (distribution-spec, "Pushing a blob
 * in chunks"); the form of RFC 9110, `bytes 0-99/*`, is understood too. Undefined without a header.
 * @throws OciError BLOB_UPLOAD_INVALID when it is malformed.
 */
export function parseContentRange(header: string | undefined): Span | undefined {
  if (header === undefined) return undefined;
  const match = CONTENT_RANGE.exec(header.trim());
  const span = match === null ? undefined : { start: Number(match[1]), end: Number(match[2]) + 1 };
  if (span !== undefined && span.start < span.end) return span;
  throw new OciError("BLOB_UPLOAD_INVALID", "Content-Range must be <start>-<end>, both inclusive, with start ≤ end", {
    detail: { contentRange: header.slice(0, 100) },
  });
}

/** The Range header of an upload that has taken `offset` bytes; `0-0` when it has none, as clients expect. */
export function formatUploadRange(offset: number): string {
  return `0-${Math.max(0, offset - 1)}`;
}
