import { Argument, type Command } from "commander";
import { serverCommand } from "./command.ts";

/** `meridian client-config`. */
export function addClientConfig(program: Command): void {
  serverCommand(
    program,
    "client-config",
    "Print a client's configuration: whom to trust, and the sites in the order in which to try them.",
  )
    .addArgument(new Argument("<client>", "whose configuration").choices(["docker", "containerd", "podman"]))
    .option("--name <registry>", "the registry's name in image references (default: the first gateway's host:port)")
    .option("--sites <a,b,c>", "sites in the order to try (default: the nearest to the server that is asked first)")
    .option("--out <dir>", "write the files below this folder instead of printing them")
    .action(async (client, options) => (await import("../commands/client-config.ts")).runClientConfig(client, options));
}
