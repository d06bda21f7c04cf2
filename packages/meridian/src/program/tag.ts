import type { Command } from "commander";
import { group, serverCommand } from "./command.ts";

/** `meridian tag …`. */
export function addTag(program: Command): void {
  const tag = group(program, "tag", "Look at what a tag named, put it back, or delete it.");
  const lazy = () => import("../commands/tag.ts");
  serverCommand(
    tag,
    "history <image>",
    "Show who wrote the tag, when, at which site, from what to what; deletions, restored values and lost writes too.",
  ).action(async (image, options) => (await lazy()).runTagHistory(image, options));
  serverCommand(
    tag,
    "restore <image>",
    "Put an earlier value of the tag again, what was deleted with it too; without an option: undo its last write.",
  )
    .option("--to <digest>", "the digest that the tag is to name")
    .option("--before <time>", "what the tag named just before this time (RFC 3339)")
    .action(async (image, options) => (await lazy()).runTagRestore(image, options));
  serverCommand(tag, "delete <image>", "Delete the tag everywhere; its manifest stays.").action(
    async (image, options) => (await lazy()).runTagDelete(image, options),
  );
}
