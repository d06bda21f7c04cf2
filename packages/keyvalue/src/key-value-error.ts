/** Why a store refused. */
export type KeyValueErrorKind =
  /** The file was written by a newer program, or by an older one whose format nobody upgraded. */
  | "format"
  /** The file cannot be opened: missing rights, not a database, unreadable disk. */
  | "open"
  /** Nothing of this transaction was stored, or syncing failed: most often the disk is full. */
  | "write"
  /** The store has been closed. */
  | "closed";

/** What goes wrong in a local store; the message is for the operator and names the path. */
export class KeyValueError extends Error {
  override readonly name = "KeyValueError";
  readonly kind: KeyValueErrorKind;

  constructor(kind: KeyValueErrorKind, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.kind = kind;
  }
}
