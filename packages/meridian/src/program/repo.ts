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
  ).action(async (name, settings, options) => (await lazy()).runRepoSet(name, settings, options));
  serverCommand(
    repo,
    "show [name]",
    "Show what holds for a repository and which prefix says so; without a name: everything that is set.",
  ).action(async (name, options) => (await lazy()).runRepoShow(name, options));
}
