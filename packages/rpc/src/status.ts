import { Metadata, type StatusObject, status } from "@grpc/grpc-js";
import { ContentError, ContentErrorKind } from "@meridian/oci";

/** Trailing metadata that carries the kind, because several kinds share a status. */
const KIND_KEY = "meridian-error-kind";
const MAX_MESSAGE = 1024;

/** The gRPC status of each kind of error. Source: the code list of https://grpc.io/docs/guides/status-codes/. */
export const STATUS_OF_KIND: Readonly<Record<ContentErrorKind, status>> = {
  [ContentErrorKind.notFound]: status.NOT_FOUND,
  [ContentErrorKind.digestMismatch]: status.DATA_LOSS,
  [ContentErrorKind.invalidRange]: status.OUT_OF_RANGE,
  [ContentErrorKind.conflict]: status.ABORTED,
  [ContentErrorKind.precondition]: status.FAILED_PRECONDITION,
  [ContentErrorKind.fenced]: status.FAILED_PRECONDITION,
  [ContentErrorKind.noSpace]: status.RESOURCE_EXHAUSTED,
  [ContentErrorKind.unavailable]: status.UNAVAILABLE,
  [ContentErrorKind.invalid]: status.INVALID_ARGUMENT,
  [ContentErrorKind.denied]: status.PERMISSION_DENIED,
};

/**
 * The kind of a status that came without one: from grpc-js itself, or from a peer that is not ours.
 * RESOURCE_EXHAUSTED is then a message over the size limit, never a full disk.
 */
export const KIND_OF_STATUS: Readonly<Record<Exclude<status, status.OK>, ContentErrorKind>> = {
  [status.CANCELLED]: ContentErrorKind.unavailable,
  [status.UNKNOWN]: ContentErrorKind.unavailable,
  [status.INVALID_ARGUMENT]: ContentErrorKind.invalid,
  [status.DEADLINE_EXCEEDED]: ContentErrorKind.unavailable,
  [status.NOT_FOUND]: ContentErrorKind.notFound,
  [status.ALREADY_EXISTS]: ContentErrorKind.conflict,
  [status.PERMISSION_DENIED]: ContentErrorKind.denied,
  [status.RESOURCE_EXHAUSTED]: ContentErrorKind.invalid,
  [status.FAILED_PRECONDITION]: ContentErrorKind.precondition,
  [status.ABORTED]: ContentErrorKind.conflict,
  [status.OUT_OF_RANGE]: ContentErrorKind.invalidRange,
  [status.UNIMPLEMENTED]: ContentErrorKind.unavailable,
  [status.INTERNAL]: ContentErrorKind.unavailable,
  [status.UNAVAILABLE]: ContentErrorKind.unavailable,
  [status.DATA_LOSS]: ContentErrorKind.digestMismatch,
  [status.UNAUTHENTICATED]: ContentErrorKind.denied,
};

const KINDS: ReadonlySet<string> = new Set(Object.values(ContentErrorKind));

/** What a server answers for an error: a ContentError's kind and message, for anything else INTERNAL and nothing more. */
export function statusOf(error: unknown): StatusObject {
  const metadata = new Metadata();
  if (!(error instanceof ContentError)) return { code: status.INTERNAL, details: "internal error", metadata };
  metadata.set(KIND_KEY, error.kind);
  return { code: STATUS_OF_KIND[error.kind], details: error.message.slice(0, MAX_MESSAGE), metadata };
}

/** What a caller throws for a failed status. `where` names the peer and method, for statuses that no peer of ours wrote. */
export function errorOf(failure: StatusObject, where: string): ContentError {
  const carried = failure.metadata?.get(KIND_KEY)[0]?.toString();
  if (carried !== undefined && KINDS.has(carried)) {
    return new ContentError(carried as ContentErrorKind, failure.details);
  }
  const kind = failure.code === status.OK ? ContentErrorKind.unavailable : KIND_OF_STATUS[failure.code];
  return new ContentError(kind, `${where}: ${failure.details}`);
}
