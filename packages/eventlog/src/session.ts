import { create, toBinary } from "@bufbuild/protobuf";
import type { Clock, Random } from "@meridian/runtime";
import { recordV1 } from "@meridian/wire";
import { subjectPrefix } from "./stream-name.ts";

/** How long a session record is kept after the next one was written, in milliseconds: 30 days. */
export const SESSION_KEPT_MS = 30 * 24 * 60 * 60 * 1000;

/** Who writes, and the parts of the world that a session record needs. */
export interface SessionWriter {
  readonly site: string;
  /** The process, e.g. `eu/gateway-1`. */
  readonly writer: string;
  readonly clock: Clock;
  readonly random: Random;
}

/** The subject space of a stream's session records, ending in a dot. */
export function sessionPrefix(stream: string): string {
  return `${subjectPrefix(stream)}session.`;
}

/** True for the subject of a session record: a writer's first entry on a connection, never compacted. */
export function isSessionSubject(stream: string, subject: string): boolean {
  return subject.startsWith(sessionPrefix(stream));
}

/** A new session record on a subject of its own. `after` is the stream's last sequence that the writer has checked. */
export function newSession(
  stream: string,
  { site, writer, clock, random }: SessionWriter,
  after: number,
): { subject: string; payload: Uint8Array; openedAtMs: number } {
  const id = Buffer.from(random.bytes(16)).toString("hex");
  const openedAtMs = Math.trunc(clock.now());
  const session = create(recordV1.SessionSchema, {
    format: 1,
    site,
    writer,
    id,
    openedAtMs: BigInt(openedAtMs),
    afterSequence: BigInt(after),
  });
  return { subject: sessionPrefix(stream) + id, payload: toBinary(recordV1.SessionSchema, session), openedAtMs };
}

/**
 * The sessions that may be removed: those whose successor is older than {@link SESSION_KEPT_MS}, so that no cursor
 * made since then names them. `sessions` in the order of their sequences; the last one always stays.
 */
export function expiredSessions<S extends { readonly openedAtMs: number }>(sessions: readonly S[], nowMs: number): S[] {
  return sessions.filter((_, index) => {
    const next = sessions[index + 1];
    return next !== undefined && next.openedAtMs < nowMs - SESSION_KEPT_MS;
  });
}
