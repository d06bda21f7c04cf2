import type { Command } from "commander";
import { group, serverCommand } from "./command.ts";

/** `meridian site …`: who is a member of the cluster. Returns the group, for what the dev cluster adds to it. */
export function addSite(program: Command): Command {
  const site = group(
    program,
    "site",
    "Add, drain, remove and expel sites; stop, kill and start those of the dev cluster.",
  );
  const lazy = () => import("../commands/site.ts");
  const waiting = (one: Command): Command =>
    one
      .option("--wait", "wait until it is done, and show the progress")
      .option("--timeout <duration>", "how long to wait, e.g. 90s or 30m", "1h");
  const changing = (one: Command): Command =>
    one
      .option("--accept-loss", "of two members, go on without the other one")
      .option("--op-id <id>", "name of the change: given again, it tells what became of one whose outcome is unknown");
  serverCommand(site, "list", "List members and former members, and how far those are that join or drain.").action(
    async (options) => (await lazy()).runSiteList(options),
  );
  waiting(
    changing(
      serverCommand(
        site,
        "add <site>",
        "Make a site a member: it copies the records of the others, then serves, and fetches the bytes meanwhile. Ends a drain, too. In the dev cluster the site is made and started.",
      )
        .option("--config <file>", "a configuration of the new site: where its processes are is read from it")
        .option("--wipe", "dev cluster: throw away what an earlier site of that name kept"),
    ),
  ).action(async (name, options) => (await lazy()).runSiteAdd(name, options));
  waiting(
    changing(
      serverCommand(
        site,
        "drain <site>",
        "Let a site take no new writes (they go on at another one), and have all that only it holds copied.",
      ),
    ),
  ).action(async (name, options) => (await lazy()).runSiteDrain(name, options));
  changing(
    serverCommand(site, "remove <site>", "End the membership of a drained site.").option(
      "--force",
      "also when something would be lost, which is told",
    ),
  ).action(async (name, options) => (await lazy()).runSiteRemove(name, options));
  changing(
    serverCommand(
      site,
      "expel <site>",
      "End the membership of a site that is lost: nobody waits for it any more, and it is refused when it comes back.",
    ),
  ).action(async (name, options) => (await lazy()).runSiteExpel(name, options));
  serverCommand(
    site,
    "salvage <site>",
    "List what only a site has that was expelled, and with --put push it to the cluster, as new writes of yours.",
  )
    .option("--from <url>", "a gateway of the expelled site (default: that of the dev cluster's site)")
    .option("--put", "push what the cluster does not have")
    .option(
      "--overwrite",
      "with --put: also let tags name what they named there, which name something else in the cluster",
    )
    .action(async (name, options) => (await import("../commands/site-salvage.ts")).runSiteSalvage(name, options));
  return site;
}
