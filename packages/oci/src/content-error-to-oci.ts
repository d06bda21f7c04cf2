import { type ContentError, isContentError } from "./content-error.ts";
import { type ErrorCode, isOciError, OciError, type OciErrorOptions } from "./errors.ts";

/** What a request was about when it failed. */
export type ErrorSubject = "blob" | "manifest" | "tag" | "upload" | "repository";

const ABSENT: Readonly<Record<ErrorSubject, ErrorCode>> = {
  blob: "BLOB_UNKNOWN",
  manifest: "MANIFEST_UNKNOWN",
  tag: "MANIFEST_UNKNOWN",
  upload: "BLOB_UPLOAD_UNKNOWN",
  repository: "NAME_UNKNOWN",
};

const MALFORMED: Readonly<Record<ErrorSubject, ErrorCode>> = {
  blob: "DIGEST_INVALID",
  manifest: "MANIFEST_INVALID",
  tag: "NAME_INVALID",
  upload: "BLOB_UPLOAD_INVALID",
  repository: "NAME_INVALID",
};

const RETRY_AFTER_SECONDS = 5;

/**
 * The client's words for an error from below. Where the server is at fault the message is the table's own: what the
 * ContentError says is in `cause`, for the log.
 */
export function contentErrorToOci(error: ContentError, what: ErrorSubject): OciError {
  const says = (code: ErrorCode, options?: OciErrorOptions): OciError =>
    new OciError(code, error.message, { ...options, cause: error });
  switch (error.kind) {
    case "not-found":
      return says(ABSENT[what]);
    case "invalid":
      return says(MALFORMED[what]);
    case "digest-mismatch":
      return says("DIGEST_INVALID");
    case "invalid-range":
      return what === "upload" ? says("BLOB_UPLOAD_INVALID", { status: 416 }) : says("RANGE_INVALID");
    case "fenced":
      return new OciError("BLOB_UPLOAD_INVALID", "a newer request has taken over this upload", {
        status: 409,
        cause: error,
      });
    case "precondition":
      return says("PRECONDITION_FAILED");
    case "no-space":
      return new OciError("INSUFFICIENT_STORAGE", undefined, { cause: error });
    // A peer that refuses us is our trouble, not the client's: it may not read as a policy decision.
    case "denied":
    case "conflict":
    case "unavailable":
      return new OciError("UNAVAILABLE", undefined, { cause: error, retryAfterSeconds: RETRY_AFTER_SECONDS });
  }
}

/** Any thrown value as an {@link OciError}: what is neither that nor a ContentError is a 500 that says nothing. */
export function toOciError(error: unknown, what: ErrorSubject): OciError {
  if (isOciError(error)) return error;
  if (isContentError(error)) return contentErrorToOci(error, what);
  return new OciError("UNAVAILABLE", "internal error", { status: 500, cause: error });
}
