import type { Command } from "commander";
import { group, serverCommand } from "./command.ts";

/** `meridian scrub …`. */
export function addScrub(program: Command): void {
  const scrub = group(
    program,
    "scrub",
    "Look after stored copies: re-hash them, set bad ones aside and fetch them again.",
  );
  const lazy = () => import("../commands/scrub.ts");
  serverCommand(scrub, "status [site]", "Show how far each blob node is, and what is wrong with its copies.").action(
    async (site, options) => (await lazy()).runScrubStatus(site, options),
  );
  serverCommand(scrub, "start [site]", "Re-hash now, or go on after a pause; without a site: at all of them.")
    .option("--wait", "wait until it is done; exits with 1 when blobs have no right copy on their node then")
    .action(async (site, options) => (await lazy()).runScrubStart(site, options));
  serverCommand(scrub, "pause [site]", "Stop re-hashing until it is started again, over restarts too.").action(
    async (site, options) => (await lazy()).runScrubPause(site, options),
  );
}
