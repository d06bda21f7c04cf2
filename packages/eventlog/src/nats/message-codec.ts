import { headers, type MsgHdrs } from "@nats-io/transport-node";
import { decodeCursor, encodeCursor } from "../cursor.ts";
import type { AppendOptions, LogEntry, NewEntry } from "../event-log.ts";

const TRACEPARENT = "traceparent";
/** The place in the origin's stream: `meridian.link.v1.Cursor`, base64url. */
const ORIGIN = "Meridian-Origin";
const EXPECTED_LAST = "Nats-Expected-Last-Sequence";
const EXPECTED_LAST_ON_SUBJECT = "Nats-Expected-Last-Subject-Sequence";

/** The headers of an append; undefined when it needs none. Never a `Nats-Msg-Id`: its window would swallow entries. */
export function appendHeaders({ traceparent, origin }: NewEntry, options: AppendOptions): MsgHdrs | undefined {
  const { expectedLastSequence, expectedLastSubjectSequence } = options;
  const pairs: Array<[string, string | undefined]> = [
    [TRACEPARENT, traceparent],
    [ORIGIN, origin && Buffer.from(encodeCursor(origin)).toString("base64url")],
    [EXPECTED_LAST, expectedLastSequence?.toString()],
    [EXPECTED_LAST_ON_SUBJECT, expectedLastSubjectSequence?.toString()],
  ];
  let result: MsgHdrs | undefined;
  for (const [name, value] of pairs) {
    if (value !== undefined) {
      result ??= headers();
      result.set(name, value);
    }
  }
  return result;
}

/** A stored or delivered message. */
export interface LogMessage {
  readonly subject: string;
  readonly data: Uint8Array;
  /** What the server calls `header` of a stored message. */
  readonly headers?: MsgHdrs;
}

/** A message as an entry: our own headers and the trace context stay, those of the server go. */
export function toEntry(sequence: number, { subject, data, headers: found }: LogMessage): LogEntry {
  const traceparent = found?.get(TRACEPARENT) || undefined;
  const origin = found?.get(ORIGIN) || undefined;
  return {
    sequence,
    subject,
    // A copy: the client hands out slices of its read buffer.
    payload: Uint8Array.prototype.slice.call(data),
    ...(traceparent === undefined ? {} : { traceparent }),
    ...(origin === undefined ? {} : { origin: decodeCursor(Buffer.from(origin, "base64url")) }),
  };
}
