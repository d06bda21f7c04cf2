import { decodeCursor, encodeCursor } from "../cursor.ts";
import type { LogEntry, NewEntry } from "../event-log.ts";

/**
 * An entry as the file holds it, each part but the last behind its length in two bytes, big endian; 0 for an absent one:
 *
 *     subject ‖ traceparent ‖ origin (meridian.link.v1.Cursor) ‖ payload
 */
export function encodeEntry({ subject, traceparent, origin, payload }: NewEntry): Buffer {
  const parts = [
    Buffer.from(subject),
    Buffer.from(traceparent ?? ""),
    origin === undefined ? Buffer.alloc(0) : encodeCursor(origin),
  ];
  const bytes = Buffer.allocUnsafe(parts.reduce((sum, part) => sum + 2 + part.length, payload.length));
  let at = 0;
  for (const part of parts) {
    at = bytes.writeUInt16BE(part.length, at);
    bytes.set(part, at);
    at += part.length;
  }
  bytes.set(payload, at);
  return bytes;
}

/** The reverse of {@link encodeEntry}; the result shares no memory with `bytes`, which belong to the database. */
export function decodeEntry(sequence: number, bytes: Buffer): LogEntry {
  let at = 0;
  const next = (): Buffer => {
    const length = bytes.readUInt16BE(at);
    const part = bytes.subarray(at + 2, at + 2 + length);
    at += 2 + length;
    return part;
  };
  const subject = next().toString();
  const traceparent = next().toString();
  const origin = next();
  return {
    sequence,
    subject,
    payload: Uint8Array.prototype.slice.call(bytes, at),
    ...(traceparent === "" ? {} : { traceparent }),
    ...(origin.length === 0 ? {} : { origin: decodeCursor(Uint8Array.prototype.slice.call(origin)) }),
  };
}
