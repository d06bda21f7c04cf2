/** One row of the error table. */
export interface ErrorCodeEntry {
  /** Unless an error says otherwise. */
  readonly httpStatus: number;
  /** Name of the gRPC status that says the same between services. */
  readonly grpcStatus: string;
  /** The specification's own words, for errors that have nothing better to say. */
  readonly message: string;
  /** Where the code is defined. */
  readonly source: string;
}

const SPECIFICATION = "https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#error-codes";
const HTTP = "https://www.rfc-editor.org/rfc/rfc9110";

/**
 * Every code that may stand in an error body: the 14 of distribution-spec v1.1, and four for what it has no word for.
 * Clients act on some of them: on MANIFEST_INVALID podman and skopeo encode the manifest anew and push again.
 */
export const ERROR_CODES = {
  BLOB_UNKNOWN: row(404, "NOT_FOUND", "blob unknown to registry"),
  BLOB_UPLOAD_INVALID: row(400, "FAILED_PRECONDITION", "blob upload invalid"),
  BLOB_UPLOAD_UNKNOWN: row(404, "NOT_FOUND", "blob upload unknown to registry"),
  DIGEST_INVALID: row(400, "INVALID_ARGUMENT", "provided digest did not match uploaded content"),
  MANIFEST_BLOB_UNKNOWN: row(400, "FAILED_PRECONDITION", "manifest references a manifest or blob unknown to registry"),
  MANIFEST_INVALID: row(400, "INVALID_ARGUMENT", "manifest invalid"),
  MANIFEST_UNKNOWN: row(404, "NOT_FOUND", "manifest unknown to registry"),
  NAME_INVALID: row(400, "INVALID_ARGUMENT", "invalid repository name"),
  NAME_UNKNOWN: row(404, "NOT_FOUND", "repository name not known to registry"),
  SIZE_INVALID: row(400, "INVALID_ARGUMENT", "provided length did not match content length"),
  UNAUTHORIZED: row(401, "UNAUTHENTICATED", "authentication required"),
  DENIED: row(403, "PERMISSION_DENIED", "requested access to the resource is denied"),
  UNSUPPORTED: row(405, "UNIMPLEMENTED", "the operation is unsupported"),
  TOOMANYREQUESTS: row(429, "RESOURCE_EXHAUSTED", "too many requests"),
  /** Something needed for the answer cannot be reached now; a retry is safe and may succeed. */
  UNAVAILABLE: row(503, "UNAVAILABLE", "temporarily unavailable", `${HTTP}#section-15.6.4`),
  /** A condition of the request (If-Match, If-None-Match) does not hold. */
  PRECONDITION_FAILED: row(412, "FAILED_PRECONDITION", "precondition failed", `${HTTP}#section-15.5.13`),
  /** No room for what was sent. */
  INSUFFICIENT_STORAGE: row(
    507,
    "RESOURCE_EXHAUSTED",
    "no space left to store this",
    "https://www.rfc-editor.org/rfc/rfc4918#section-11.5",
  ),
  /** No byte of the requested ranges exists. */
  RANGE_INVALID: row(416, "OUT_OF_RANGE", "range not satisfiable", `${HTTP}#section-15.5.17`),
} as const;

/** A code of {@link ERROR_CODES}. */
export type ErrorCode = keyof typeof ERROR_CODES;

function row(httpStatus: number, grpcStatus: string, message: string, source: string = SPECIFICATION): ErrorCodeEntry {
  return { httpStatus, grpcStatus, message, source };
}

/** What an {@link OciError} may say beside code and message. */
export interface OciErrorOptions {
  /** For the client: becomes `detail` in the body. */
  readonly detail?: unknown;
  /** For the log; never leaves the process. */
  readonly cause?: unknown;
  /** HTTP status where the code's own does not fit. */
  readonly status?: number;
  /** Seconds after which the same request may succeed. */
  readonly retryAfterSeconds?: number;
}

/** An answer other than success, in the words of the distribution-spec; its message and detail are for the client. */
export class OciError extends Error {
  override readonly name = "OciError";
  readonly code: ErrorCode;
  readonly status: number;
  readonly detail: unknown;
  readonly retryAfterSeconds: number | undefined;

  /** `message` absent: the specification's own words. */
  constructor(code: ErrorCode, message?: string, options: OciErrorOptions = {}) {
    super(message ?? ERROR_CODES[code].message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.status = options.status ?? ERROR_CODES[code].httpStatus;
    this.detail = options.detail;
    this.retryAfterSeconds = options.retryAfterSeconds;
  }
}

/** True when `error` is an {@link OciError}, of this code when one is given. */
export function isOciError(error: unknown, code?: ErrorCode): error is OciError {
  return error instanceof OciError && (code === undefined || error.code === code);
}

/** The JSON body of an error response (distribution-spec, "Error Codes"): all in ASCII, so that it may be sent as latin1. */
export function toErrorBody(error: OciError | readonly OciError[]): string {
  const errors = (error instanceof OciError ? [error] : error).map(({ code, message, detail }) => ({
    code,
    message,
    detail,
  }));
  return JSON.stringify({ errors }).replace(
    /[\u007f-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
