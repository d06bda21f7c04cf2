/** Exit codes of every command. */
export const ExitCode = {
  done: 0,
  /** It failed, or the condition that was asked for does not hold. */
  failed: 1,
  /** Usage, configuration or environment: nothing was tried. */
  usage: 2,
} as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

/** Ends a command with a message for the user, one problem a line. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly exitCode: ExitCode;

  constructor(exitCode: ExitCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.exitCode = exitCode;
  }
}

/** Wrong usage, configuration or environment (exit code 2). */
export function usageError(message: string, options?: { cause?: unknown }): CommandError {
  return new CommandError(ExitCode.usage, message, options);
}

/** Something was tried and failed (exit code 1). */
export function failure(message: string, options?: { cause?: unknown }): CommandError {
  return new CommandError(ExitCode.failed, message, options);
}
