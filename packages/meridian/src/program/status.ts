import type { Command } from "commander";
import { serverCommand } from "./command.ts";

/** `meridian status`. */
export function addStatus(program: Command): void {
  serverCommand(
    program,
    "status",
    "Show the sites, their health and their links. Exits with 1 when a site is not ready.",
  ).action(async (options) => (await import("../commands/status.ts")).runStatus(options));
}

/** `meridian replication`. */
export function addReplication(program: Command): void {
  serverCommand(
    program,
    "replication <image>",
    "Show how much of an image each site holds; <image> is name:tag or name@digest, with or without the registry.",
  )
    .option("--wait <sites>", "wait until these sites hold it whole, e.g. us,ap")
    .option("--timeout <duration>", "how long to wait, e.g. 90s or 5m", "60s")
    .action(async (image, options) => (await import("../commands/replication.ts")).runReplication(image, options));
}
