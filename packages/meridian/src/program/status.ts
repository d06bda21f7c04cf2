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
    "replication [image]",
    "Show how much of an image each site holds (name:tag or name@digest, with or without the registry); of a repository (name), or without one of everything, what each site has still to fetch, how fast and since when.",
  )
    .option("--wait <sites>", "wait until these sites hold the image whole, e.g. us,ap")
    .option("--timeout <duration>", "how long to wait, e.g. 90s or 5m", "60s")
    .option("--site <site>", "only what this site has still to fetch")
    .action(async (image, options) => {
      const names = image === undefined || !isImage(image);
      if (!names) await (await import("../commands/replication.ts")).runReplication(image, options);
      else await (await import("../commands/replication-progress.ts")).runReplicationProgress(image, options);
    });
}

/** A tag stands after the last slash, a digest behind an @; a registry's port stands before a slash. */
function isImage(text: string): boolean {
  return text.includes("@") || text.slice(text.lastIndexOf("/") + 1).includes(":");
}
