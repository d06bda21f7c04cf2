import type { Digest } from "@meridian/oci";

/** A copy that was found to be no good, and was moved aside. */
export interface Damage {
  readonly digest: Digest;
  /** What is wrong with it, in words for the operator. */
  readonly problem: string;
}

/** A copy in quarantine. */
export interface QuarantinedCopy {
  readonly digest: Digest;
  /** When it was moved there; Unix epoch, milliseconds. */
  readonly at: number;
  /** Where it lies, for the operator. */
  readonly path: string;
}

/** How a check came out. `damaged`: the copy has been moved aside and the blob is absent now. */
export type CheckOutcome = "right" | "absent" | "damaged";

/** How a copy is checked. */
export interface CheckOptions {
  /** Called after each piece with its bytes; the next is read when it resolves. */
  readonly pace?: (bytes: number) => Promise<void>;
  readonly signal?: AbortSignal;
}

/**
 * Looks after what a store holds. A copy that does not hash to its name, or that cannot be read, is moved to quarantine
 * by whoever finds it: a reader, a check or an inspection. It is never served again and is kept for a week.
 */
export interface BlobChecks {
  /** Reads and hashes the copy, whatever was known of it. @throws ContentError `unavailable` when the disk fails as a whole. */
  check(digest: Digest, options?: CheckOptions): Promise<CheckOutcome>;
  /**
   * As {@link BlobChecks.check}, but a copy that was hashed since the process started, and was not written to since, is
   * not read again. Absent where only the driver's own storage could tell.
   */
  confirm?(digest: Digest): Promise<CheckOutcome>;
  /**
   * Goes through all names without reading contents, and moves aside what is no readable file (a folder, a link that
   * leads nowhere, a file that this process may not read); yields each. `pace` is awaited after each some hundred names.
   */
  inspect(options?: { pace?: () => Promise<void>; signal?: AbortSignal }): AsyncIterable<Damage>;
  /** What is in quarantine, in no order; several entries of one digest are possible. */
  quarantined(): AsyncIterable<QuarantinedCopy>;
  /** Calls `listener` for each copy that is moved aside, until disposed. */
  watch(listener: (damage: Damage) => void): Disposable;
}
