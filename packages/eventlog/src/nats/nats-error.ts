import { ContentError, ContentErrorKind } from "@meridian/oci";
import { JetStreamApiError } from "@nats-io/jetstream";

/** JetStream's error codes that mean something to us (nats-server, server/errors.json). */
export const JetStreamErrorCode = {
  streamNotFound: 10_059,
  streamNameInUse: 10_058,
  wrongLastSequence: 10_071,
  /** The same refusal, as nats-server 2.12 and newer also word it. */
  wrongLastSequenceConstant: 10_164,
  insufficientResources: 10_023,
  storageResourcesExceeded: 10_047,
} as const;

const CONFLICTS: ReadonlySet<number> = new Set([
  JetStreamErrorCode.wrongLastSequence,
  JetStreamErrorCode.wrongLastSequenceConstant,
]);
const FULL: ReadonlySet<number> = new Set([
  JetStreamErrorCode.insufficientResources,
  JetStreamErrorCode.storageResourcesExceeded,
]);

/** A refusal by JetStream, by its own error code, as a ContentError. */
export function refusal(code: number, description: string): ContentError {
  if (CONFLICTS.has(code)) {
    return new ContentError(ContentErrorKind.conflict, `the log has another last entry: ${description}`);
  }
  if (FULL.has(code)) {
    return new ContentError(ContentErrorKind.noSpace, `the log's storage is full: ${description}`);
  }
  return new ContentError(ContentErrorKind.unavailable, `the log refused: ${description} (${code})`);
}

/** JetStream's error code of a failed request; undefined when it failed otherwise. */
export function errorCode(error: unknown): number | undefined {
  return error instanceof JetStreamApiError ? error.code : undefined;
}

/** Whatever the client threw as a ContentError: `unavailable` unless JetStream said otherwise. */
export function asContentError(cause: unknown): ContentError {
  if (cause instanceof ContentError) {
    return cause;
  }
  const message = cause instanceof Error ? cause.message : String(cause);
  const code = errorCode(cause);
  return code === undefined
    ? new ContentError(ContentErrorKind.unavailable, `the log server did not answer: ${message}`, { cause })
    : refusal(code, message);
}
