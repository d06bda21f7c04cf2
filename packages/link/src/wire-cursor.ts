import { createHash } from "node:crypto";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Cursor, Incarnation, LogEntry } from "@meridian/eventlog";
import { ContentError } from "@meridian/oci";
import type { linkV1 } from "@meridian/wire";

/** A cursor as the link's messages carry it. */
export function toWireCursor({ incarnation, sequence, session }: Cursor): MessageInitShape<typeof linkV1.CursorSchema> {
  return {
    incarnation: { created: incarnation.created, id: incarnation.id },
    sequence: BigInt(sequence),
    sessionSequence: BigInt(session?.sequence ?? 0),
    sessionHash: session?.hash ?? new Uint8Array(0),
  };
}

/** The reverse of {@link toWireCursor}; undefined for an absent cursor. @throws ContentError `invalid` without an incarnation. */
export function fromWireCursor(cursor: linkV1.Cursor | undefined): Cursor | undefined {
  if (cursor === undefined) return undefined;
  const base = { incarnation: fromWireIncarnation(cursor.incarnation), sequence: Number(cursor.sequence) };
  if (cursor.sessionHash.length === 0) return base;
  return { ...base, session: { sequence: Number(cursor.sessionSequence), hash: cursor.sessionHash } };
}

/** @throws ContentError `invalid` when it is absent. */
export function fromWireIncarnation(incarnation: linkV1.Incarnation | undefined): Incarnation {
  if (incarnation === undefined) throw new ContentError("invalid", "the message names no incarnation");
  return { created: incarnation.created, id: incarnation.id };
}

/** How a cursor names a session record: its place, and the SHA-256 of its payload. */
export function sessionAt({
  sequence,
  payload,
}: Pick<LogEntry, "sequence" | "payload">): NonNullable<Cursor["session"]> {
  return { sequence, hash: createHash("sha256").update(payload).digest() };
}

/** True when both cursors saw the same session record last, or none. */
export function sameSession(a: Cursor["session"], b: Cursor["session"]): boolean {
  if (a === undefined || b === undefined) return a === b;
  return a.sequence === b.sequence && Buffer.compare(a.hash, b.hash) === 0;
}
