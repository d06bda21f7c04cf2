import { createHash } from "node:crypto";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { ContentError, ContentErrorKind } from "@meridian/oci";
import type { Clock, Random } from "@meridian/runtime";
import { linkV1 } from "@meridian/wire";
import type { Cursor, Incarnation, LogEntry, ResumeCheck } from "./event-log.ts";

/** An entry that tells one history of a stream from another. */
export interface Witness {
  readonly sequence: number;
  readonly hash: Uint8Array;
}

/** What a stream knows about one of its places, for the making and the checking of cursors. */
export interface Place {
  readonly incarnation: Incarnation;
  readonly head: number;
  /** The last session record at or before the place; in a stream that is not compacted the last entry itself. */
  readonly witness?: Witness;
  /** In a copy: the origin's sequence of the last entry at or before the place; 0 before the first. */
  readonly originSequence?: number;
}

/** SHA-256 of a session record, as cursors carry it. */
export function witnessHash(payload: Uint8Array): Uint8Array {
  return createHash("sha256").update(payload).digest();
}

/** An entry as a witness. */
export function witnessOf({ sequence, payload }: LogEntry): Witness {
  return { sequence, hash: witnessHash(payload) };
}

/**
 * The cursor that names a place. In a copy the origin's sequence stands behind the session's hash: a copy has no
 * sessions of its own, but its entries keep the origin's order, which tells as much.
 */
export function cursorOf(sequence: number, place: Place): Cursor {
  const { incarnation, witness, originSequence } = place;
  if (witness === undefined && originSequence === undefined) {
    return { incarnation, sequence };
  }
  const hash = witness?.hash ?? new Uint8Array(32);
  const session = { sequence: witness?.sequence ?? 0, hash: withOrigin(hash, originSequence) };
  return { incarnation, sequence, session };
}

/** Checks a cursor against what the stream says now about the place it names. */
export function checkCursor(cursor: Cursor, place: Place): ResumeCheck {
  const { incarnation, head } = place;
  const reason = mismatch(cursor, place);
  if (reason === undefined) return { ok: true, incarnation, head };
  return { ok: false, incarnation, head, reason, lost: isLost(cursor, place) };
}

/** A tail that was filled again begins with a session: where there is none at all, the cursor's own has expired. */
function isLost(cursor: Cursor, { incarnation, head, witness }: Place): boolean {
  return sameIncarnation(cursor.incarnation, incarnation) && (cursor.sequence > head || witness !== undefined);
}

/** Throws ContentError `precondition` unless a check went well. */
export function requireFit(check: ResumeCheck): void {
  if (!check.ok) {
    throw new ContentError(ContentErrorKind.precondition, check.reason);
  }
}

function mismatch(cursor: Cursor, place: Place): string | undefined {
  if (!sameIncarnation(cursor.incarnation, place.incarnation)) {
    return `the cursor is of incarnation ${cursor.incarnation.id}, the log of ${place.incarnation.id}`;
  }
  if (cursor.sequence > place.head) {
    return `the cursor is at ${cursor.sequence}, the log ends at ${place.head}`;
  }
  const then = splitOrigin(cursor.session?.hash);
  if ((cursor.session?.sequence ?? 0) !== (place.witness?.sequence ?? 0)) {
    const now = place.witness?.sequence ?? "none";
    return `the session before ${cursor.sequence} was ${cursor.session?.sequence ?? "none"} and is ${now}`;
  }
  if (place.witness !== undefined && Buffer.compare(then.hash, place.witness.hash) !== 0) {
    return `the session record at ${place.witness.sequence} is another one`;
  }
  // A copy whose lost tail was filled again: what stood after the cursor may now stand before it.
  if ((place.originSequence ?? 0) > then.origin) {
    return `the copy had ${then.origin} of its origin at ${cursor.sequence} and has ${place.originSequence} there now`;
  }
  return undefined;
}

function withOrigin(hash: Uint8Array, origin: number | undefined): Uint8Array {
  if (origin === undefined) {
    return hash;
  }
  const bytes = Buffer.alloc(40);
  bytes.set(hash.subarray(0, 32));
  bytes.writeBigUInt64BE(BigInt(origin), 32);
  return bytes;
}

function splitOrigin(hash: Uint8Array | undefined): { hash: Uint8Array; origin: number } {
  if (hash === undefined || hash.length !== 40) {
    return { hash: hash ?? new Uint8Array(0), origin: 0 };
  }
  return { hash: hash.subarray(0, 32), origin: Number(Buffer.from(hash).readBigUInt64BE(32)) };
}

/** A new life of a stream, stamped by the clock; after all of `above`, whatever the clock says. */
export function newIncarnation(clock: Clock, random: Random, above: readonly Incarnation[] = []): Incarnation {
  const now = BigInt(Math.trunc(clock.now())) << 16n;
  return {
    created: above.reduce((created, older) => (older.created < created ? created : older.created + 1n), now),
    id: Buffer.from(random.bytes(16)).toString("hex"),
  };
}

/** Orders incarnations by creation, then id: negative when `a` is the older one, 0 when they are the same. */
export function compareIncarnations(a: Incarnation, b: Incarnation): number {
  if (a.created !== b.created) {
    return a.created < b.created ? -1 : 1;
  }
  return a.id === b.id ? 0 : a.id < b.id ? -1 : 1;
}

function sameIncarnation(a: Incarnation, b: Incarnation): boolean {
  return compareIncarnations(a, b) === 0;
}

/** A cursor as `meridian.link.v1.Cursor`. */
export function cursorMessage({ incarnation, sequence, session }: Cursor): linkV1.Cursor {
  return create(linkV1.CursorSchema, {
    incarnation: { created: incarnation.created, id: incarnation.id },
    sequence: BigInt(sequence),
    sessionSequence: BigInt(session?.sequence ?? 0),
    sessionHash: session?.hash ?? new Uint8Array(0),
  });
}

/** The reverse of {@link cursorMessage}. */
export function cursorOfMessage(message: linkV1.Cursor): Cursor {
  const { created = 0n, id = "" } = message.incarnation ?? {};
  const cursor = { incarnation: { created, id }, sequence: Number(message.sequence) };
  if (message.sessionHash.length === 0) {
    return cursor;
  }
  return { ...cursor, session: { sequence: Number(message.sessionSequence), hash: message.sessionHash } };
}

/** A cursor as `meridian.link.v1.Cursor`, binary. */
export function encodeCursor(cursor: Cursor): Uint8Array {
  return toBinary(linkV1.CursorSchema, cursorMessage(cursor));
}

/** The reverse of {@link encodeCursor}. Throws on bytes that are no cursor. */
export function decodeCursor(bytes: Uint8Array): Cursor {
  return cursorOfMessage(fromBinary(linkV1.CursorSchema, bytes));
}
