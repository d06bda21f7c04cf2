/** One thing that must work for a process to be ready. */
export interface HealthCheck {
  /** Short, stable, kebab-case: shown by /readyz, e.g. "log", "storage". */
  readonly name: string;
  /** Resolves when it works; rejects with a message for the operator. Must answer within the signal's deadline. */
  check(signal: AbortSignal): Promise<void>;
}

/** The outcome of all checks of a process at one time. */
export interface HealthReport {
  readonly ready: boolean;
  readonly checks: ReadonlyArray<{ readonly name: string; readonly ok: boolean; readonly message?: string }>;
}
