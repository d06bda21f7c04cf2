import type { Command } from "commander";
import { serverCommand } from "./command.ts";

/** `meridian diff [site] [site]`. */
export function addDiff(program: Command): void {
  serverCommand(
    program,
    "diff [site] [other]",
    "Prove that two sites hold the same records and bytes, or name what differs; without sites: every pair. docs/diff.md",
  )
    .option("--repair", "send what is missing again, both ways; nothing that was deleted comes back")
    .option("--timeout <duration>", "how long to wait for each pair, e.g. 90s or 30m", "30m")
    .action(async (site, other, options) => (await import("../commands/diff.ts")).runDiff(site, other, options));
}
