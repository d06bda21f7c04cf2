import type { Command } from "commander";
import { command, group, serverCommand } from "./command.ts";

/** `meridian site stop|kill|start` and `process|link|clock …`, which break a running dev cluster on purpose. */
export function addFaults(program: Command, site: Command): void {
  const lazy = () => import("../commands/faults.ts");
  for (const [verb, text] of [
    ["stop", "Stop a site in good order"],
    ["kill", "Kill every process of a site (SIGKILL)"],
    ["start", "Start a site again"],
  ] as const) {
    command(site, `${verb} <site>`, `${text}; it stays so (dev cluster).`).action(async (name, options) =>
      (await lazy()).siteFault(verb, name, options),
    );
  }
  serverCommand(
    site,
    "restore <site>",
    "Show how far a site has restored its log, if that was lost, from what other sites hold of it: it takes no writes before. Exits with 1 meanwhile. docs/consistency.md",
  )
    .option("--accept-loss", "give up what sites hold that are away for good: the site takes writes from now on")
    .action(async (name, options) => (await import("../commands/site-restore.ts")).runSiteRestore(name, options));
  const one = group(program, "process", "Stop, kill or start one process of the running dev cluster.");
  command(one, "kill <site/process>", "Kill a process (SIGKILL); the supervisor starts it again.")
    .option("--hold", "leave it down")
    .action(async (name, options) => (await lazy()).processFault("kill", name, options));
  for (const verb of ["stop", "start"] as const) {
    command(one, `${verb} <site/process>`, `${verb === "stop" ? "Stop" : "Start"} a process.`).action(
      async (name, options) => (await lazy()).processFault(verb, name, options),
    );
  }
  const link = group(
    program,
    "link",
    "Cut, heal, delay or limit a link of the running dev cluster (which needs --links).",
  );
  command(link, "cut <A-B>", "Drop silently what the two sites send each other; sockets stay open.")
    .option("--one-way", "only what A sends to B")
    .option("--reset", "close the sockets instead")
    .action(async (pair, options) => (await lazy()).linkCut(pair, options));
  command(link, "heal <A-B>", "Let everything pass again.")
    .option("--one-way", "only what A sends to B")
    .action(async (pair, options) => (await lazy()).linkHeal(pair, options));
  command(link, "delay <A-B> <ms>", "Set the round trip in milliseconds.").action(async (pair, ms, options) =>
    (await lazy()).linkDelay(pair, ms, options),
  );
  command(link, "limit <A-B> <rate>", 'Set bytes a second, e.g. 20MB; "none" lifts it.').action(
    async (pair, rate, options) => (await lazy()).linkLimit(pair, rate, options),
  );
  const clock = group(program, "clock", "Shift a site's clock in the running dev cluster.");
  command(clock, "skew <site> <ms>", "Shift the site's wall clock, e.g. +5000; 0 puts it right.")
    .allowUnknownOption()
    .action(async (name, ms, options) => (await lazy()).clockSkew(name, ms, options));
}
