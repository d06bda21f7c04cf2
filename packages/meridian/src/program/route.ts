import type { Command } from "commander";
import { group, serverCommand } from "./command.ts";

/** `meridian route …`. */
export function addRoute(program: Command): void {
  const route = group(program, "route", "Show where pulls are served from, and why.");
  serverCommand(
    route,
    "explain <image>",
    "Show for the manifest and each blob of an image which nodes could serve it, in what order, and why.",
  )
    .option("--from <site>", "as a client of this site (default: of the gateway that is asked)")
    .option("--without <sites>", "as if these sites were lost, e.g. eu,ap")
    .action(async (image, options) => (await import("../commands/route.ts")).runRouteExplain(image, options));
}
