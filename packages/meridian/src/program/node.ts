import type { Command } from "commander";
import { group, serverCommand } from "./command.ts";

/** `meridian node …`. */
export function addNode(program: Command): void {
  const node = group(program, "node", "Look after the blob nodes of a site.");
  const lazy = () => import("../commands/node.ts");
  const waiting = (one: Command): Command =>
    one
      .option("--wait", "wait until every copy is where it belongs, and show the progress")
      .option("--timeout <duration>", "how long to wait, e.g. 90s or 30m", "1h");
  serverCommand(
    node,
    "list [site]",
    "List blob nodes: state, what they hold, room left, and copies that are not where they belong.",
  ).action(async (site, options) => (await lazy()).runNodeList(site, options));
  waiting(
    serverCommand(
      node,
      "add <site/node>",
      "Let a blob node take bytes: one that was drained, or one that the configuration names now. In the dev cluster it is made and started.",
    ),
  ).action(async (name, options) => (await lazy()).runNodeAdd(name, options));
  waiting(
    serverCommand(
      node,
      "drain <site/node>",
      "Take no new bytes on a blob node and move what it holds to others, until it is empty.",
    ),
  ).action(async (name, options) => (await lazy()).runNodeDrain(name, options));
}
