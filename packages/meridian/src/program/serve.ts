import type { Command } from "commander";
import { command } from "./command.ts";

/** `meridian serve`. */
export function addServe(program: Command): void {
  command(program, "serve", "Run one process of a cluster in production.")
    .requiredOption("--config <file>", "the process's configuration (YAML)")
    .option("--roles <list>", "run only these roles of the configuration, e.g. gateway,blob-node")
    .action(async (options) => (await import("../commands/serve.ts")).runServe(options));
}
