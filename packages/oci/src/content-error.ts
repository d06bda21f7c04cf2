/** What went wrong below the edges, in words that are neither HTTP's nor gRPC's. */
export const ContentErrorKind = {
  /** The thing asked for does not exist. */
  notFound: "not-found",
  /** Bytes do not hash to the digest that they were to have. */
  digestMismatch: "digest-mismatch",
  /** A range or offset does not fit the content. */
  invalidRange: "invalid-range",
  /** Another writer was first; reading again and retrying may succeed. */
  conflict: "conflict",
  /** A condition that the caller set does not hold. */
  precondition: "precondition",
  /** A newer writer or owner took over; this one must stop. */
  fenced: "fenced",
  /** The disk or quota is full. */
  noSpace: "no-space",
  /** The peer, log or store cannot be reached now; retrying later may succeed. */
  unavailable: "unavailable",
  /** The input is malformed. */
  invalid: "invalid",
  /** The peer is not who it should be, or may not do this. */
  denied: "denied",
} as const;
export type ContentErrorKind = (typeof ContentErrorKind)[keyof typeof ContentErrorKind];

const RETRYABLE: ReadonlySet<ContentErrorKind> = new Set([ContentErrorKind.conflict, ContentErrorKind.unavailable]);

/**
 * The one error class of storage, logs, catalog and cluster.
 * Whether a retry may help is a property of the kind; `cause` is for logs and never leaves the process.
 */
export class ContentError extends Error {
  override readonly name = "ContentError";
  readonly kind: ContentErrorKind;

  constructor(kind: ContentErrorKind, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.kind = kind;
  }

  get retryable(): boolean {
    return RETRYABLE.has(this.kind);
  }
}

/** True when `error` is a {@link ContentError} of this kind. */
export function isContentError(error: unknown, kind?: ContentErrorKind): error is ContentError {
  return error instanceof ContentError && (kind === undefined || error.kind === kind);
}
