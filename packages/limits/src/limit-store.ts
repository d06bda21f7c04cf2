/** Counts failures in a row. Keys are any text; a driver that keeps them elsewhere keeps their keyed hash only. */
export interface FailureCounter {
  /** Counts one more and resolves with the count. It starts anew after `forgetAfterMs` without one. */
  addFailure(key: string, options: { readonly forgetAfterMs: number }): Promise<number>;
  /** Resolves once the count is gone; there need not be one. */
  clearFailures(key: string): Promise<void>;
}

/** How fast one key may go: `burst` at once, then `perSecond` in the long run. */
export interface Rate {
  readonly perSecond: number;
  readonly burst: number;
}

/** Buckets of tokens that fill at a rate. */
export interface TokenBuckets {
  /** Takes one token: 0 when there was one, else the milliseconds until there is one (nothing is taken). */
  takeToken(key: string, rate: Rate): Promise<number>;
}

/** Which lease, and how long it holds unless it is taken again. */
export interface LeaseTerms {
  /** Leases that a key may hold at once. */
  readonly max: number;
  readonly ttlMs: number;
}

/** Leases that a key holds: each ends when it is given back, or by itself. */
export interface LeaseTable {
  /** True when the key holds the lease from now on; one that it holds already is prolonged whatever `max` says. */
  takeLease(key: string, lease: string, terms: LeaseTerms): Promise<boolean>;
  /** Resolves once it is given back; the key need not hold it. */
  releaseLease(key: string, lease: string): Promise<void>;
}

/** Short texts that may be forgotten at any time. */
export interface NoteCache {
  /** Undefined when it was never kept, has run out or was dropped for room. */
  readNote(key: string): Promise<string | undefined>;
  keepNote(key: string, note: string, options: { readonly ttlMs: number }): Promise<void>;
}

/**
 * What limits are kept in: in this process, or in a Redis that the processes of a site share. Never the truth: all of
 * it may be lost at any time. Each method is atomic.
 * Errors: ContentError `unavailable` when the store cannot be reached within its time; the local driver never fails.
 */
export interface LimitStore extends FailureCounter, TokenBuckets, LeaseTable, NoteCache, AsyncDisposable {}
