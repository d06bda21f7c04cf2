import { ContentError, ContentErrorKind } from "@meridian/oci";

const STREAM = /^[A-Za-z0-9][A-Za-z0-9_-]{0,127}$/;
const TOKEN = "[A-Za-z0-9_=/+-]+";
const SUBJECT = new RegExp(`^${TOKEN}(\\.${TOKEN})+$`);
const MAX_SUBJECT_LENGTH = 512;

/** The largest payload of an entry, in bytes (64 KiB). */
export const MAX_PAYLOAD_BYTES = 65_536;

/** Throws ContentError `invalid` unless the name can be a stream of either driver. */
export function requireStreamName(stream: string): void {
  if (!STREAM.test(stream)) {
    throw new ContentError(ContentErrorKind.invalid, `"${stream}" cannot be the name of a log`);
  }
}

/**
 * What all subjects of a stream begin with, so that no two streams of a site overlap:
 * `META_<site>` and `FROM_<site>` have `m.<site>.`, `POLICY` has `p.`, any other stream `<its name>.`.
 */
export function subjectPrefix(stream: string): string {
  const site = ownerOf(stream);
  if (site !== undefined) {
    return `m.${site}.`;
  }
  return stream === "POLICY" ? "p." : `${stream}.`;
}

/** The site whose records a stream holds; undefined when it is neither a `META_` nor a `FROM_` stream. */
export function ownerOf(stream: string): string | undefined {
  return /^(?:META|FROM)_(.+)$/.exec(stream)?.[1];
}

/** True for the copy of a peer's log. */
export function isCopy(stream: string): boolean {
  return stream.startsWith("FROM_");
}

/** Throws ContentError `invalid` when an entry has a subject of another stream or a payload over 64 KiB. */
export function requireEntry(stream: string, subject: string, payload: Uint8Array): void {
  if (payload.length > MAX_PAYLOAD_BYTES) {
    const limit = `the limit is ${MAX_PAYLOAD_BYTES}`;
    throw new ContentError(ContentErrorKind.invalid, `an entry of ${payload.length} bytes is too large: ${limit}`);
  }
  const prefix = subjectPrefix(stream);
  if (subject.length > MAX_SUBJECT_LENGTH || !subject.startsWith(prefix) || !SUBJECT.test(subject)) {
    throw new ContentError(ContentErrorKind.invalid, `"${subject}" is not a subject of log ${stream} (${prefix}…)`);
  }
}
