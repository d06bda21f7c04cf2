import type { Command } from "commander";
import { group, serverCommand } from "./command.ts";

/** `meridian repo …`. */
export function addRepo(program: Command): void {
  const repo = group(program, "repo", "Look after repositories and what is set for them.");
  const lazy = () => import("../commands/repo.ts");
  serverCommand(
    repo,
    "set <name> <settings...>",
    'Set something for a repository and those below it, e.g. tags=home:eu; the name "*" means every repository.',
  )
    .option("--accept-loss", "move the home of tags although a site that decided before does not acknowledge")
    .action(async (name, settings, options) => (await lazy()).runRepoSet(name, settings, options));
  serverCommand(
    repo,
    "show [name]",
    "Show what holds for a repository and which prefix says so; without a name: everything that is set.",
  ).action(async (name, options) => (await lazy()).runRepoShow(name, options));
  const content = () => import("../commands/repo-content.ts");
  serverCommand(
    repo,
    "delete <name>",
    "Delete each tag and manifest of a repository that is seen in it, everywhere; a push meanwhile stays.",
  ).action(async (name, options) => (await content()).runRepoDelete(name, options));
  serverCommand(
    repo,
    "restore <name>",
    "Put again what was deleted of a repository, as far as its bytes are still there.",
  )
    .option("--deleted-after <time>", "only tags that were deleted at or after this time (RFC 3339)")
    .action(async (name, options) => (await content()).runRepoRestore(name, options));
}
