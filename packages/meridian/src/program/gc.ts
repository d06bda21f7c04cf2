import { type Command, InvalidArgumentError } from "commander";
import { serverCommand } from "./command.ts";

/** `meridian gc [status]`. */
export function addCollection(program: Command): void {
  serverCommand(
    program,
    "gc [status]",
    "Collect what nothing needs any more, at every site; `gc status` only shows how far that is. docs/collection.md",
  )
    .option("--site <site>", "only at this site")
    .option("--dry-run", "remove nothing: show what a pass would remove now")
    .option("--pause", "stop collecting until --resume, over restarts too")
    .option("--resume", "go on after --pause")
    .option("--rate <n>", "blobs removed in a second at most, from now on", rate)
    .option(
      "--wait",
      "wait until the pass is done; exits with 1 when it failed, or waits for a site that cannot be asked",
    )
    .option("--timeout <duration>", "how long to wait, e.g. 90s or 30m", "1h")
    .action(async (verb, options) => (await import("../commands/gc.ts")).runCollection(verb, options));
}

function rate(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 1_000_000)
    throw new InvalidArgumentError("blobs a second, from 1 to 1000000, are wanted.");
  return value;
}
