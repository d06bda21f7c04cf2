import { type Cursor, decodeCursor, encodeCursor } from "@meridian/eventlog";
import type { OrderedReader } from "@meridian/keyvalue";
import type { Position } from "./version-token.ts";

/** How far one stream is folded into the view: written in the transaction of its last batch. */
export interface FoldCursor {
  /** In the stream itself: where the fold goes on. */
  readonly cursor: Cursor;
  /** The last register folded, as its origin counts; absent before the first. */
  readonly reached?: Position;
}

export const cursorKey = (stream: string): string => `c ${stream}`;

/** `c <stream>`: length of the cursor in 4 bytes, the cursor, then what was reached as a cursor without session. */
export function encodeFoldCursor({ cursor, reached }: FoldCursor): Uint8Array {
  const at = encodeCursor(cursor);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(at.byteLength);
  return Buffer.concat([length, at, reached === undefined ? new Uint8Array(0) : encodeCursor(reached)]);
}

/** The stored cursor of a stream; undefined before its first batch. */
export function readFoldCursor(reader: OrderedReader, stream: string): FoldCursor | undefined {
  const row = reader.get(cursorKey(stream));
  if (row === undefined) {
    return undefined;
  }
  const bytes = Buffer.from(row.buffer, row.byteOffset, row.byteLength);
  const length = bytes.readUInt32BE(0);
  const cursor = decodeCursor(bytes.subarray(4, 4 + length));
  const rest = bytes.subarray(4 + length);
  return rest.byteLength === 0 ? { cursor } : { cursor, reached: decodeCursor(rest) };
}
