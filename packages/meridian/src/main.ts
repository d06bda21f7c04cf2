#!/usr/bin/env node
import { CommanderError } from "commander";
import { createProgram } from "./command-line.ts";
import { CommandError, ExitCode } from "./exit-status.ts";

try {
  await createProgram().parseAsync(process.argv);
} catch (error) {
  process.exitCode = report(error);
}

/** Prints what went wrong and gives the exit code for it. */
function report(error: unknown): ExitCode {
  if (error instanceof CommanderError) {
    // Commander has printed help, version or the usage problem itself.
    return error.exitCode === 0 ? ExitCode.done : ExitCode.usage;
  }
  if (error instanceof CommandError) {
    for (const line of error.message.split("\n")) process.stderr.write(`meridian: ${line}\n`);
    return error.exitCode;
  }
  process.stderr.write(`meridian: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  return ExitCode.failed;
}
